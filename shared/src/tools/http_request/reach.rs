//! Which addresses a request may go to.
//!
//! Only the addresses that the IANA registries give to the public internet are allowed. From a
//! function, other addresses lead to its runtime (127.0.0.1), to its host machine (169.254.0.0/16)
//! and, in a private network, to everything there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far a request may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Public addresses, at the scheme's own port.
    PublicInternet,
    /// Also this machine, and any port: for tests against a server on it.
    ThisMachineToo,
}

impl Reach {
    /// Whether a request may go to this address.
    pub(super) fn allows(self, address: IpAddr) -> bool {
        let is_public = match address {
            IpAddr::V4(address) => is_public_v4(address),
            IpAddr::V6(address) => is_public_v6(address),
        };
        match self {
            Self::PublicInternet => is_public,
            Self::ThisMachineToo => is_public || address.is_loopback(),
        }
    }

    /// Whether a URL may name a port other than its scheme's own.
    pub(super) const fn allows_other_ports(self) -> bool {
        match self {
            Self::PublicInternet => false,
            Self::ThisMachineToo => true,
        }
    }
}

/// The blocks outside the public internet, by their first address and the length of their prefix:
/// the IANA registry of IPv4 addresses for special purposes, multicast, and reserved blocks.
const NOT_PUBLIC_V4: [([u8; 4], u32); 17] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 31, 196, 0], 24),
    ([192, 52, 193, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([192, 175, 48, 0], 24),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 3),
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    let is_in = |(first, prefix): ([u8; 4], u32)| {
        let differs = address.to_bits() ^ Ipv4Addr::from(first).to_bits();
        differs >> (32 - prefix) == 0
    };
    !NOT_PUBLIC_V4.into_iter().any(is_in)
}

/// Only `2000::/3` is global unicast: loopback, IPv4-mapped, NAT64, unique local, link-local and
/// multicast addresses lie outside of it. Inside of it lie protocol assignments (Teredo and
/// benchmarking among them), documentation, and 6to4, which has an IPv4 address inside.
fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        [0x2001, 0..=0x01ff | 0x0db8, ..] | [0x2002, ..] | [0x3fff, 0..=0x0fff, ..] => false,
        [first, ..] => first >> 13 == 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOT_PUBLIC: &str = "0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.254 \
        169.254.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.170 192.0.2.1 192.31.196.1 192.52.193.1 \
        192.88.99.1 192.168.0.1 192.168.255.255 192.175.48.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 \
        239.255.255.255 240.0.0.1 255.255.255.255 \
        :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:0:127.0.0.1 64:ff9b::7f00:1 64:ff9b::808:808 64:ff9b:1::1 \
        100::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2::1 2001:10::1 2001:20::1 2001:1ff:ffff::1 2001:db8::1 \
        2002:7f00:1::1 2002:808:808::1 3fff::1 3fff:fff::1 4000::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 febf::1 fec0::1 \
        ff02::1 ff0e::1";

    const PUBLIC: &str = "1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.1 100.63.255.255 100.128.0.1 126.255.255.255 128.0.0.1 \
        169.253.255.255 169.255.0.1 172.15.255.255 172.32.0.1 192.0.1.1 192.167.255.255 192.169.0.1 198.17.255.255 \
        198.20.0.1 223.255.255.255 2001:200::1 2001:4860:4860::8888 2606:4700:4700::1111 2a00:1450::1 2003::1 3ffe::1";

    #[test]
    fn only_the_public_internet_is_reached() {
        for address in NOT_PUBLIC.split_whitespace() {
            assert!(
                !Reach::PublicInternet.allows(address.parse().unwrap()),
                "{address}"
            );
        }
        for address in PUBLIC.split_whitespace() {
            assert!(
                Reach::PublicInternet.allows(address.parse().unwrap()),
                "{address}"
            );
        }
    }

    #[test]
    fn this_machine_is_reached_only_if_the_reach_allows_it() {
        for address in NOT_PUBLIC
            .split_whitespace()
            .map(|address| address.parse::<IpAddr>().unwrap())
        {
            assert_eq!(
                Reach::ThisMachineToo.allows(address),
                address.is_loopback(),
                "{address}"
            );
        }
    }
}
