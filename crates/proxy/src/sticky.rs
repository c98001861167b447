//! The cookie that ties a client to the backend that served it first.
//!
//! Its value is `EXPIRY.ID.MAC` in hexadecimal: seconds since 1970, who the backend is, and an HMAC-SHA-256 (RFC 2104,
//! cut to 128 bits) over both and the pool. A client can neither make one nor move one to another pool, and learns
//! nothing of the backend: the id is an HMAC of its name. It is the name that counts, so a backend keeps its clients
//! across a change of address.
//!
//! Limits: a cookie that was stolen is as good as one's own; it says only where a request goes. Who knows the key can
//! make cookies, so it is a file of mode 0600. Seconds come from the wall clock, so a clock that is set back lengthens
//! bindings.

use std::fmt;
use std::time::Duration;

use evenkeel_model::clock::Wall;
use evenkeel_model::config::{Pool, StickyCookie};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// First bytes of what is signed: a value of another version or use must not pass.
const BINDING: &[u8] = b"evenkeel sticky binding 1\0";
const IDENTITY: &[u8] = b"evenkeel sticky identity 1\0";
/// Bytes of the signature: 128 bits.
const MAC_LENGTH: usize = 16;
/// Longest value looked at: 16 digits, 16 digits, 32 digits and two dots.
const VALUE_MAX: usize = 66;

/// The secret that cookies are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct StickyKey([u8; 32]);

impl StickyKey {
    /// The key with these bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key that a text stands for, as the line of a file does: its SHA-256.
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }
}

impl fmt::Debug for StickyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StickyKey(..)")
    }
}

/// The cookies of one pool.
#[derive(Debug)]
pub(crate) struct Sticky {
    key: StickyKey,
    pool: String,
    cookie: String,
    ttl: Duration,
    /// Backends by id, ascending.
    by_id: Vec<(u64, usize)>,
    /// Ids in file order.
    ids: Vec<u64>,
}

/// What a valid cookie says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Binding {
    /// Index in file order.
    pub(crate) member: usize,
    /// Whether less than half of its time is left, so that it is to be written anew.
    pub(crate) is_old: bool,
}

impl Sticky {
    pub(crate) fn new(key: &StickyKey, pool: &Pool, cookie: &StickyCookie) -> Self {
        let name = pool.name.to_string();
        let backends = pool.backends.iter();
        let ids: Vec<u64> = backends
            .map(|backend| identity(key, &name, backend.name.as_str()))
            .collect();
        let mut by_id: Vec<(u64, usize)> = ids.iter().copied().zip(0..).collect();
        by_id.sort_unstable();
        Self {
            key: key.clone(),
            pool: name,
            cookie: cookie.name.clone(),
            ttl: cookie.ttl,
            by_id,
            ids,
        }
    }

    /// The name of the cookie.
    pub(crate) fn cookie(&self) -> &str {
        &self.cookie
    }

    /// The backend that a cookie's value names; `None`: forged, worn out, or of a backend that is gone.
    pub(crate) fn read(&self, value: &[u8], now: Wall) -> Option<Binding> {
        if value.len() > VALUE_MAX {
            return None;
        }
        let mut parts = std::str::from_utf8(value).ok()?.split('.');
        let (expiry, id, mac) = (parts.next()?, parts.next()?, parts.next()?);
        let expiry = u64::from_str_radix(expiry, 16).ok()?;
        let id = u64::from_str_radix(id, 16).ok()?;
        let mac = unhex(mac)?;
        if parts.next().is_some() {
            return None;
        }
        let left = expiry.checked_sub(now.0 / 1_000).filter(|left| *left > 0)?;
        self.signed(expiry, id).verify_truncated_left(&mac).ok()?;
        let place = self.by_id.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        let (_, member) = *self.by_id.get(place)?;
        Some(Binding {
            member,
            is_old: left < self.ttl.as_secs() / 2,
        })
    }

    /// The value of `Set-Cookie` that ties a client to a backend from now on; `None`: no such backend.
    /// `is_secure`: it came by TLS, and must not go elsewhere.
    pub(crate) fn write(&self, member: usize, now: Wall, is_secure: bool) -> Option<String> {
        let id = *self.ids.get(member)?;
        let seconds = self.ttl.as_secs();
        let expiry = now.0 / 1_000 + seconds;
        let mac = self.signed(expiry, id).finalize().into_bytes();
        let mac: String = mac
            .iter()
            .take(MAC_LENGTH)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let secure = if is_secure { "; Secure" } else { "" };
        Some(format!(
            "{}={expiry:x}.{id:016x}.{mac}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}",
            self.cookie
        ))
    }

    fn signed(&self, expiry: u64, id: u64) -> Hmac<Sha256> {
        let parts = [
            self.pool.as_bytes(),
            &[0],
            &id.to_be_bytes(),
            &expiry.to_be_bytes(),
        ];
        mac(&self.key, BINDING, &parts)
    }
}

fn identity(key: &StickyKey, pool: &str, backend: &str) -> u64 {
    let parts = [pool.as_bytes(), &[0], backend.as_bytes()];
    let tag = mac(key, IDENTITY, &parts).finalize().into_bytes();
    let first = tag.first_chunk::<8>().copied().unwrap_or_default();
    u64::from_be_bytes(first)
}

fn mac(key: &StickyKey, domain: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    // A key shorter than a block is filled up with zeros (RFC 2104, section 2).
    let mut block = [0; 64];
    if let Some(start) = block.first_chunk_mut() {
        *start = key.0;
    }
    let mut mac = Hmac::<Sha256>::new(&block.into());
    mac.update(domain);
    for part in parts {
        mac.update(part);
    }
    mac
}

fn unhex(text: &str) -> Option<[u8; MAC_LENGTH]> {
    let value = u128::from_str_radix(text, 16).ok()?;
    (text.len() == 2 * MAC_LENGTH).then(|| value.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::{Binding, Sticky, StickyKey};
    use evenkeel_model::clock::Wall;
    use evenkeel_model::config::{Pool, StickyCookie};
    use std::time::Duration;

    const NOW: Wall = Wall(1_800_000_000_000);

    fn pool(name: &str, backends: &[&str]) -> Pool {
        let backends: String = backends
            .iter()
            .map(|b| format!("[pool.{name}.backend.{b}]\naddress = '127.0.0.1:9'\n"))
            .collect();
        let text = format!(
            "[listener.web]\naddress = '127.0.0.1:8'\n[[route]]\nlistener = 'web'\npool = '{name}'\n{backends}"
        );
        let mut config = evenkeel_model::parse::parse(&text, None).config.unwrap();
        config.pools.remove(0)
    }

    fn sticky(key: &str, pool: &Pool) -> Sticky {
        let cookie = StickyCookie {
            name: "ek".to_owned(),
            ttl: Duration::from_secs(100),
        };
        Sticky::new(&StickyKey::of(key), pool, &cookie)
    }

    fn value(set_cookie: &str) -> &[u8] {
        let value = set_cookie.strip_prefix("ek=").unwrap();
        value.split(';').next().unwrap().as_bytes()
    }

    #[test]
    fn a_cookie_leads_back_to_its_backend_until_it_is_worn_out_and_is_old_before() {
        let mine = sticky("k", &pool("shop", &["a", "b", "c"]));
        for member in 0..3 {
            let set = mine.write(member, NOW, false).unwrap();
            assert!(
                set.ends_with("; Path=/; Max-Age=100; HttpOnly; SameSite=Lax"),
                "{set}"
            );
            for name in ["shop", "a=", "b=", "127.0.0.1"] {
                assert!(!set.contains(name), "{set}");
            }
            let at = |seconds| mine.read(value(&set), NOW.plus(Duration::from_secs(seconds)));
            let young = Binding {
                member,
                is_old: false,
            };
            assert_eq!(at(0), Some(young));
            assert_eq!(at(50), Some(young));
            assert_eq!(
                at(51),
                Some(Binding {
                    member,
                    is_old: true
                })
            );
            assert_eq!(at(100), None);
        }
        assert_eq!(mine.write(3, NOW, false), None);
    }

    #[test]
    fn a_backend_keeps_its_clients_when_others_come_and_go() {
        let before = sticky("k", &pool("shop", &["a", "b"]));
        let after = sticky("k", &pool("shop", &["c", "b"]));
        let b = before.write(1, NOW, false).unwrap();
        assert_eq!(after.read(value(&b), NOW).map(|b| b.member), Some(1));
        let a = before.write(0, NOW, false).unwrap();
        assert_eq!(after.read(value(&a), NOW), None);
    }

    #[test]
    fn a_cookie_of_another_key_or_pool_or_with_a_changed_digit_is_none() {
        let shop = pool("shop", &["a", "b"]);
        let mine = sticky("k", &shop);
        let set = mine.write(0, NOW, false).unwrap();
        let good = value(&set);
        assert!(mine.read(good, NOW).is_some());
        assert_eq!(sticky("other", &shop).read(good, NOW), None);
        assert_eq!(
            sticky("k", &pool("cart", &["a", "b"])).read(good, NOW),
            None
        );
        for place in 0..good.len() {
            let mut forged = good.to_vec();
            forged[place] = if good[place] == b'1' { b'2' } else { b'1' };
            assert_eq!(mine.read(&forged, NOW), None, "{place}");
        }
        let long = [good, b".0"].concat();
        for odd in [
            b"".as_slice(),
            b"..",
            b"1.2.3",
            b"\xff.\xfe.1",
            &long,
            &good[..20],
        ] {
            assert_eq!(mine.read(odd, NOW), None);
        }
    }
}
