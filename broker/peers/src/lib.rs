//! Connections between the brokers of a cluster: frames, the proof of who is at the other end, and requests that are answered in
//! any order. `docs/peers.md` draws the bytes.
//!
//! [`accept_loop`] serves what others ask on a listener that is never a client's; [`Peers`] asks others. What is asked for is
//! divided into [`Lane`]s, each of which has a connection of its own: bulk never stands in front of a vote.
//!
//! Must not know: what requests say, which brokers there are.

mod accept;
mod bytes;
mod connect;
mod frame;
#[cfg(fuzzing)]
pub mod fuzzing;
mod handshake;
mod identity;
mod message;
mod secret;

pub use accept::{Bound, Failed, Limits, Remote, Service, accept_loop, bind};
pub use connect::{CallError, Peers, Target};
pub use frame::{BODY_BYTES_MAX, PAYLOAD_BYTES_MAX};
pub use handshake::{HandshakeError, Lane, Refusal};
pub use identity::{Identity, Local};
pub use message::{Message, Request};
pub use secret::{JoinSecret, ParseSecretError};
