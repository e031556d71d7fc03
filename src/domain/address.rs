//! The part of a client's address that stands for one subscriber (LIM-5).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// An IPv4 address, or the /64 of an IPv6 address: a subscriber has all addresses of a /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressPrefix {
    /// All 32 bits.
    V4(Ipv4Addr),
    /// The upper 64 bits.
    V6(u64),
}

impl AddressPrefix {
    /// The /24 or /48 that this prefix lies in, as its first prefix. One subscriber may have many prefixes of it.
    #[must_use]
    pub const fn wider(self) -> Self {
        match self {
            Self::V4(v4) => Self::V4(Ipv4Addr::from_bits(v4.to_bits() & !0xff)),
            Self::V6(upper) => Self::V6(upper & !0xffff),
        }
    }
}

impl From<IpAddr> for AddressPrefix {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4),
            IpAddr::V6(v6) => Self::V6((v6.to_bits() >> 64) as u64),
        }
    }
}

impl fmt::Display for AddressPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(v4) => v4.fmt(f),
            Self::V6(upper) => write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(*upper) << 64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lim_5_one_subscriber_has_one_prefix() {
        let prefix = |text: &str| AddressPrefix::from(text.parse::<IpAddr>().expect("an address"));
        assert_eq!(prefix("::ffff:192.0.2.1"), prefix("192.0.2.1"));
        assert_eq!(prefix("2001:db8::1"), prefix("2001:db8::ffff:1"));
        assert_ne!(prefix("2001:db8::1"), prefix("2001:db8:0:1::1"));
        assert_ne!(prefix("192.0.2.1"), prefix("192.0.2.2"));
        assert_eq!(prefix("2001:db8::1").to_string(), "2001:db8::/64");
    }

    #[test]
    fn lim_5_neighbouring_prefixes_have_one_wider_one() {
        let wider = |text: &str| AddressPrefix::from(text.parse::<IpAddr>().expect("an address")).wider();
        assert_eq!(wider("2001:db8:0:1::1"), wider("2001:db8:0:ffff::1"));
        assert_ne!(wider("2001:db8::1"), wider("2001:db8:1::1"));
        assert_eq!(wider("192.0.2.1"), wider("192.0.2.255"));
        assert_ne!(wider("192.0.2.1"), wider("192.0.3.1"));
    }
}
