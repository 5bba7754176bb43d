//! Reading a broker's URL.

use crate::error::ChannelError;

/// The standard ports, without TLS and with.
const PORT: u16 = 1883;
const TLS_PORT: u16 = 8883;

/// What an `mqtt://` or `mqtts://` URL says.
#[derive(PartialEq, Eq)]
pub(super) struct Address {
    pub(super) tls: bool,
    /// An IPv6 address keeps its brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) login: Option<(String, String)>,
}

impl std::fmt::Debug for Address {
    /// Leaves out the login.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Address")
            .field("tls", &self.tls)
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self, ChannelError> {
        // The URL may hold a password: it is not repeated.
        let bad = |why: &str| {
            ChannelError::InvalidArgument(format!(
                "broker URL: {why}; it reads mqtt://[user[:password]@]host[:port], or mqtts://… for TLS"
            ))
        };
        let (tls, rest) = match url.split_once("://") {
            Some(("mqtt", rest)) => (false, rest),
            Some(("mqtts", rest)) => (true, rest),
            _ => return Err(bad("it does not begin with mqtt:// or mqtts://")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, place) = rest.rsplit_once('@').map_or((None, rest), |(login, place)| (Some(login), place));
        let login = login.map(|login| {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            (unescape(user), unescape(password))
        });
        let (host, port) = match place.rsplit_once(':') {
            // An IPv6 address in brackets holds colons of its own.
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| bad("the port is not a number up to 65535"))?)
            }
            _ => (place, if tls { TLS_PORT } else { PORT }),
        };
        if host.is_empty() || host.contains('/') {
            return Err(bad("the host is missing or not a host"));
        }
        Ok(Self { tls, host: host.to_owned(), port, login })
    }

    /// The name that the broker's certificate has to carry.
    pub(super) fn name(&self) -> &str {
        self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&self.host)
    }
}

/// Percent-decodes a part of a URL.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let digits = tail.get(..2).filter(|_| byte == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(decoded) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            out.push(decoded);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broker_urls_are_read() {
        let plain = Address::parse("mqtt://broker.example").unwrap();
        assert_eq!(plain, Address { tls: false, host: "broker.example".into(), port: 1883, login: None });
        let full = Address::parse("mqtt://us%40er:pa:ss@[::1]:18830/").unwrap();
        assert_eq!(full.host, "[::1]");
        assert_eq!(full.port, 18830);
        assert_eq!(full.login, Some(("us@er".into(), "pa:ss".into())));
        assert_eq!(Address::parse("mqtt://[::1]").unwrap().port, 1883);
        let sealed = Address::parse("mqtts://me@[::1]").unwrap();
        assert_eq!((sealed.tls, sealed.port, sealed.name()), (true, 8883, "::1"));
        assert_eq!(Address::parse("mqtts://broker.example:1").unwrap().port, 1);
    }

    #[test]
    fn bad_broker_urls_say_what_is_wrong_and_keep_the_password_to_themselves() {
        for bad in ["tcp://u:secret@h", "mqtt://", "mqtt://u:secret@h:99999", "mqtts://u:secret@"] {
            let error = Address::parse(bad).unwrap_err().to_string();
            assert!(error.contains("mqtt://[user"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_login_is_not_shown() {
        let shown = format!("{:?}", Address::parse("mqtts://user:secret@h").unwrap());
        assert!(shown.contains("8883") && !shown.contains("secret") && !shown.contains("user"), "{shown}");
    }
}
