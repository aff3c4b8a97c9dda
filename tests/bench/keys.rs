//! Key pairs, signatures and one verification to compare with. The only file of the bench that uses
//! an Ed25519 package.

use std::hint::black_box;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};

/// Ed25519 key pair.
pub struct Keys(SigningKey);

impl Keys {
    /// Returns the key pair of this seed.
    pub fn from_seed(seed: [u8; 32]) -> Keys {
        Keys(SigningKey::from_bytes(&seed))
    }

    /// Returns the public key.
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// Returns the signature of a text.
    pub fn sign(&self, text: &[u8]) -> [u8; 64] {
        self.0.sign(text).to_bytes()
    }
}

/// Returns a function that verifies one signature of 300 bytes at each call, with the package that
/// the gateway uses.
pub fn verification() -> impl Fn() {
    let keys = Keys::from_seed([1; 32]).0;
    let text = [b'x'; 300];
    let signature = keys.sign(&text);
    let key = keys.verifying_key();
    move || {
        let key = VerifyingKey::from_bytes(black_box(key.as_bytes())).expect("the key is right");
        key.verify_strict(black_box(&text), &signature).expect("the signature is right");
    }
}
