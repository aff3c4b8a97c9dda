//! Identity of the node: its own device key, and the device token issued by its gateway. Both are
//! in `node/` below the state directory (directory mode 0700, files 0600).
//!
//! The key is generated once and never leaves its file. The token is stored with the address of the
//! gateway that issued it and is never sent to another address. The file is written only when its
//! content changes.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha256};

use super::address::GatewayAddress;
use super::NodeError;
use crate::config::{Env, SystemEnv};
use crate::gate::ids::DeviceId;
use crate::gate::limits;
use crate::gate::signature::{Signed, Version};
use crate::server::os::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::store;
use crate::wire::base64;
use crate::wire::json;

/// Client id of the node in the protocol.
pub const CLIENT: &str = "node-host";
/// Client mode and role of the node in the protocol.
pub const NODE: &str = "node";

/// Device key of the node and the id derived from it.
pub struct NodeIdentity {
    keys: SigningKey,
    pub id: DeviceId,
    dir: PathBuf,
}

/// Facts about the gateway that are kept between starts.
#[derive(Clone, PartialEq, Eq)]
pub struct KnownGateway {
    pub address: GatewayAddress,
    /// Device token; empty if there is none.
    pub token: String,
    /// Display name that the node used.
    pub name: String,
}

impl NodeIdentity {
    /// Opens the identity in the directory; generates the key if there is none.
    pub fn open(dir: &Path) -> Result<NodeIdentity, NodeError> {
        store::create_dir(dir).map_err(|error| NodeError::cannot_write(dir, &error))?;
        let path = dir.join("node.key");
        let seed = if path.exists() {
            let text = SystemEnv
                .read(&path, limits::SECRET_FILE_LEN)
                .map_err(|error| NodeError::cannot_read(&path, &error))?;
            let seed = base64::decode(String::from_utf8_lossy(&text).trim());
            seed.ok_or_else(|| {
                let shown = path.display();
                NodeError::Failed(format!(
                    "{shown} is damaged; after its removal the node gets a new key and has to pair again"
                ))
            })?
        } else {
            let entropy: &mut dyn Entropy = &mut SystemEntropy;
            let seed: [u8; 32] = entropy.bytes();
            let text = base64::encode_url(&seed) + "\n";
            store::write_private(&path, text.as_bytes())
                .map_err(|error| NodeError::cannot_write(&path, &error))?;
            seed
        };
        let keys = SigningKey::from_bytes(&seed);
        let id = DeviceId(Sha256::digest(keys.verifying_key()).into());
        Ok(NodeIdentity { keys, id, dir: dir.to_path_buf() })
    }

    /// Returns the public key in the encoding of the protocol.
    pub fn public_key(&self) -> String {
        base64::encode_url(self.keys.verifying_key().as_bytes())
    }

    /// Returns the `device` member of the parameters of `connect`, with the signature over `nonce`
    /// and `token`, the credential that is presented with it.
    pub fn proof(&self, nonce: &str, token: &str, family: &str) -> Vec<u8> {
        let signed_at = SystemClock::start().now().wall.0;
        let id = self.id.to_string();
        let signed = Signed::<Cow<'_, str>> {
            device_id: &id,
            client_id: CLIENT,
            client_mode: NODE,
            role: NODE,
            scopes: &[],
            signed_at,
            token,
            nonce,
            platform: std::env::consts::OS,
            family,
        };
        let mut payload = Vec::new();
        signed.payload(Version::V3, &mut |part| payload.extend_from_slice(part));
        let signature = self.keys.sign(&payload);
        json::object(|o| {
            o.str("id", &id);
            o.str("publicKey", &self.public_key());
            o.str("signature", &base64::encode_url(&signature.to_bytes()));
            o.u64("signedAt", signed_at);
            o.str("nonce", nonce);
        })
    }

    /// Returns the gateway that admitted this node last, if any.
    pub fn gateway(&self) -> Option<KnownGateway> {
        let text = SystemEnv.read(&self.token_file(), limits::SECRET_FILE_LEN).ok()?;
        let text = String::from_utf8(text).ok()?;
        let mut lines = text.lines();
        let address = GatewayAddress::parse(lines.next()?, 0).ok()?;
        let mut line = || lines.next().unwrap_or_default().to_string();
        Some(KnownGateway { address, token: line(), name: line() })
    }

    /// Stores the facts about the gateway.
    pub fn remember(&self, gateway: &KnownGateway) -> Result<(), NodeError> {
        if self.gateway().as_ref() == Some(gateway) {
            return Ok(());
        }
        let KnownGateway { address, token, name } = gateway;
        let text = format!("{address}\n{token}\n{name}\n");
        let path = self.token_file();
        store::replace_private(&path, text.as_bytes())
            .map_err(|error| NodeError::cannot_write(&path, &error))
    }

    fn token_file(&self) -> PathBuf {
        self.dir.join("node.token")
    }
}
