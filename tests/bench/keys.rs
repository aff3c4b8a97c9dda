//! The only file of the bench that names an Ed25519 package: key pairs of devices, signatures, and one verification to compare with.

use std::hint::black_box;

use ed25519_compact::{KeyPair, Noise, Seed};

/// A key pair.
pub struct Keys(KeyPair);

impl Keys {
    /// The key pair that belongs to that seed.
    pub fn from_seed(seed: [u8; 32]) -> Keys {
        Keys(KeyPair::from_seed(Seed::new(seed)))
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        *self.0.pk
    }

    /// The signature of that text.
    pub fn sign(&self, text: &[u8]) -> [u8; 64] {
        *self.0.sk.sign(text, None::<Noise>)
    }
}

/// Returns a function that verifies one signature of 300 bytes at each call, with the package that the gateway uses.
pub fn verification() -> impl Fn() {
    let keys = Keys::from_seed([1; 32]).0;
    let text = [b'x'; 300];
    let signature = keys.sk.sign(text, None::<Noise>);
    move || black_box(keys.pk.verify(black_box(text), &signature)).expect("the signature is right")
}
