//! Says on a connection who the client is (KIP-43, KIP-152), and again before the broker forgets it (KIP-368).
//!
//! Must not know: mechanisms.

use std::sync::Arc;
use std::time::Duration;

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::{
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use tokio::time::Instant;

use super::connection::{Connection, Quiet, WeakConnection};
use crate::error::{RequestError, check};
use crate::security::{Exchange, Sasl, Step};

/// What of a session may pass before the client says anew who it is, in percent: as many as the Java client's, each connection another.
const SESSION_PERCENT: std::ops::Range<u64> = 85..95;

/// Says who the client is, and goes on doing so for as long as the connection is used.
///
/// Cancel-safe: the connection is of no use then.
pub(super) async fn authenticate(connection: &Connection, sasl: &Sasl, timeout: Duration) -> Result<(), RequestError> {
    let began = Instant::now();
    let Some(lifetime) = say(&connection.quiet().await?, connection, sasl, timeout).await? else { return Ok(()) };
    let due = began + lifetime;
    tokio::spawn(say_again(connection.downgrade(), sasl.clone(), timeout, due));
    Ok(())
}

/// Until the connection ends. Nothing else is asked meanwhile, as brokers take nothing else then.
async fn say_again(weak: WeakConnection, sasl: Sasl, timeout: Duration, mut due: Instant) {
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            () = weak.ended() => return,
        }
        let Some(connection) = weak.upgrade() else { return };
        let Ok(quiet) = connection.quiet().await else { return };
        let began = Instant::now();
        match say(&quiet, &connection, &sasl, timeout).await {
            Ok(Some(lifetime)) => due = began + lifetime,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(address = %connection.address(), %error, "the session with a broker cannot be renewed");
                connection.fail(error);
                return;
            }
        }
    }
}

/// Tells after how long it has to be said again, if ever.
async fn say(
    quiet: &Quiet,
    connection: &Connection,
    sasl: &Sasl,
    timeout: Duration,
) -> Result<Option<Duration>, RequestError> {
    let refused = |reason: Arc<str>| RequestError::Authentication {
        address: Arc::clone(connection.address()),
        mechanism: sasl.name(),
        reason,
    };
    let version = connection.version_of::<SaslHandshakeRequest>(1..=1)?;
    let request = SaslHandshakeRequest { mechanism: sasl.name().into() };
    let SaslHandshakeResponse { error_code, mechanisms } = quiet.call(version, &request, timeout).await?;
    check(error_code).map_err(|code| match code {
        ErrorCode::UnsupportedSaslMechanism => refused(format!("the broker takes {}", mechanisms.join(", ")).into()),
        code => refused(code.to_string().into()),
    })?;
    let version = connection.version_of::<SaslAuthenticateRequest>(0..=2)?;
    let (mut exchange, mut message) = Exchange::begin(sasl).await.map_err(refused)?;
    loop {
        let request = SaslAuthenticateRequest { auth_bytes: message.into() };
        let answer = quiet.call(version, &request, timeout).await?;
        let SaslAuthenticateResponse { error_code, error_message, auth_bytes, session_lifetime_ms } = answer;
        if let Err(code) = check(error_code) {
            let why = exchange.refusal().or(error_message.map(|message| Arc::from(&*message)));
            return Err(refused(why.unwrap_or_else(|| code.to_string().into())));
        }
        // A password is proved by computing for a while.
        let stepping = tokio::task::spawn_blocking(move || {
            let step = exchange.on_message(&auth_bytes);
            (exchange, step)
        });
        let step;
        (exchange, step) = stepping.await.map_err(|error| refused(error.to_string().into()))?;
        match step.map_err(refused)? {
            Step::Send(next) => message = next,
            Step::Done => return Ok(renewed_after(session_lifetime_ms)),
        }
    }
}

fn renewed_after(session_lifetime_ms: i64) -> Option<Duration> {
    let lifetime = u64::try_from(session_lifetime_ms).ok().filter(|lifetime| *lifetime > 0)?;
    let percent = rand::random_range(SESSION_PERCENT);
    Some(Duration::from_millis(lifetime.saturating_mul(percent) / 100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_renewed_before_it_ends_and_one_without_an_end_never() {
        assert_eq!((renewed_after(0), renewed_after(-1)), (None, None));
        let after = renewed_after(10_000).expect("it ends").as_millis();
        assert!((8_500..9_500).contains(&after), "{after}");
    }
}
