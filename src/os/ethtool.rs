//! What a network driver says of itself: its name, its statistics, whether GRO
//! is on. By the ethtool ioctl, because a driver's own statistics do not come
//! over ethtool's netlink family (Documentation/networking/ethtool-netlink.rst).

mod losses;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;

use socket2::{Domain, Socket, Type};

use super::OsError;
pub use losses::xdp_losses;

/// `include/uapi/linux/sockios.h`, `include/uapi/linux/ethtool.h`.
const SIOCETHTOOL: libc::c_ulong = 0x8946;
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSTATS: u32 = 0x1d;
const ETHTOOL_GGRO: u32 = 0x2b;
const ETH_SS_STATS: u32 = 1;
const ETH_GSTRING_LEN: usize = 32;
/// `struct ethtool_drvinfo`, bytes, and where in it `driver` and `n_stats` are.
const DRVINFO: usize = 196;
const DRVINFO_DRIVER: std::ops::Range<usize> = 4..36;
const DRVINFO_STATS: usize = 180;
/// Most statistics of one interface that are read. The largest drivers have some thousands.
const STATISTICS_MAX: usize = 65_536;
/// Queues can change between the question how many and the answer, three times in a row hardly.
const TRIES: usize = 3;

/// A driver's own statistics by name, as `ethtool -S` shows them.
pub type Statistics = BTreeMap<String, u64>;

/// Asks about interfaces of the network namespace in which it was opened. Needs no privilege.
#[derive(Debug)]
pub struct Ethtool {
    socket: Socket,
}

impl Ethtool {
    pub fn open() -> Result<Self, OsError> {
        Socket::new(Domain::IPV4, Type::DGRAM, None)
            .map(|socket| Self { socket })
            .map_err(|source| OsError::from_io("opening a socket for ethtool", "NET_ADMIN", source))
    }

    /// The driver's name, such as `veth`, `mlx5_core`, `ixgbe`; empty where it does not say.
    pub fn driver(&self, interface: &str) -> Result<String, OsError> {
        let info = self.driver_info(interface)?;
        Ok(text(info.get(DRVINFO_DRIVER).unwrap_or_default()))
    }

    /// Generic receive offload is on. On a veth this decides whether frames that
    /// are redirected to its other end arrive.
    pub fn gro(&self, interface: &str) -> Result<bool, OsError> {
        let mut value = command(ETHTOOL_GGRO, 8);
        self.ask(interface, "reading the state of GRO", &mut value)?;
        Ok(word(&value, 4) != 0)
    }

    /// The driver's own statistics; empty where it has none.
    pub fn statistics(&self, interface: &str) -> Result<Statistics, OsError> {
        for _ in 0..TRIES {
            if let Some(statistics) = self.statistics_once(interface)? {
                return Ok(statistics);
            }
        }
        let source = io::Error::other("the number of queues changes all the time");
        Err(OsError::Io { what: format!("{interface}: reading the driver's statistics"), source })
    }

    /// `None`: their number changed while they were read, so that names and values do not match.
    fn statistics_once(&self, interface: &str) -> Result<Option<Statistics>, OsError> {
        let what = "reading the driver's statistics";
        let count = word(&self.driver_info(interface)?, DRVINFO_STATS) as usize;
        if count == 0 {
            return Ok(Some(Statistics::new()));
        }
        if count > STATISTICS_MAX {
            let source = io::Error::other(format!("{count} of them; at most {STATISTICS_MAX} are read"));
            return Err(OsError::Io { what: format!("{interface}: {what}"), source });
        }
        // The kernel takes no notice of how much room there is, and writes what there
        // is by then: hence twice the room, and some.
        let room = 2 * count + 1024;
        let mut names = command(ETHTOOL_GSTRINGS, 12 + room * ETH_GSTRING_LEN);
        put_word(&mut names, 4, ETH_SS_STATS);
        put_word(&mut names, 8, count as u32);
        self.ask(interface, what, &mut names)?;
        let mut values = command(ETHTOOL_GSTATS, 8 + room * 8);
        put_word(&mut values, 4, count as u32);
        self.ask(interface, what, &mut values)?;
        if word(&names, 8) as usize != count || word(&values, 4) as usize != count {
            return Ok(None);
        }
        let (names, _) = names.get(12..).unwrap_or_default().as_chunks::<ETH_GSTRING_LEN>();
        let (values, _) = values.get(8..).unwrap_or_default().as_chunks::<8>();
        let pairs = names.iter().map(|name| text(name)).zip(values.iter().map(|value| u64::from_ne_bytes(*value)));
        Ok(Some(pairs.take(count).collect()))
    }

    fn driver_info(&self, interface: &str) -> Result<Vec<u8>, OsError> {
        let mut info = command(ETHTOOL_GDRVINFO, DRVINFO);
        match self.ask(interface, "asking for the driver", &mut info) {
            // The driver has no word on itself: then no name, and no statistics.
            Err(OsError::Io { source, .. }) if source.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                Ok(command(ETHTOOL_GDRVINFO, DRVINFO))
            }
            asked => asked.map(|()| info),
        }
    }

    /// `buffer` begins with the command, and has room for all that the kernel answers to it.
    fn ask(&self, interface: &str, what: &str, buffer: &mut [u8]) -> Result<(), OsError> {
        let missing = || OsError::NoInterface { name: interface.to_owned() };
        // SAFETY: ifreq is plain data, for which all-zero bytes are valid.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // One byte stays zero: the name's end.
        if interface.is_empty() || interface.len() >= request.ifr_name.len() || interface.contains('\0') {
            return Err(missing());
        }
        for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_data = buffer.as_mut_ptr().cast();
        // SAFETY: the descriptor is open for as long as `self`; `request` is a valid
        // ifreq whose data points to `buffer`, which outlives the call. How much the
        // kernel writes there depends on the command; the callers give room for it.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), SIOCETHTOOL as _, &mut request) };
        if result == 0 {
            return Ok(());
        }
        let source = io::Error::last_os_error();
        match source.raw_os_error() {
            Some(libc::ENODEV) => Err(missing()),
            _ => Err(OsError::from_io(format!("{interface}: {what}"), "NET_ADMIN", source)),
        }
    }
}

fn command(number: u32, length: usize) -> Vec<u8> {
    let mut buffer = vec![0; length];
    put_word(&mut buffer, 0, number);
    buffer
}

fn put_word(buffer: &mut [u8], at: usize, value: u32) {
    if let Some(to) = buffer.get_mut(at..at + 4) {
        to.copy_from_slice(&value.to_ne_bytes());
    }
}

fn word(buffer: &[u8], at: usize) -> u32 {
    buffer.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

/// Text up to the first zero byte.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_not_there_is_named_in_the_error() {
        let ethtool = Ethtool::open().unwrap();
        for name in ["lbd-none", "", "a-name-that-is-too-long-for-the-kernel", "zero\0"] {
            let error = ethtool.statistics(name).unwrap_err();
            assert!(matches!(&error, OsError::NoInterface { name: named } if named == name), "{error}");
        }
    }

    #[test]
    fn an_interface_without_statistics_has_none_and_that_is_no_error() {
        // No namespace is without a loopback interface, which has no driver either.
        let ethtool = Ethtool::open().unwrap();
        assert_eq!(ethtool.statistics("lo").map_err(|error| error.to_string()), Ok(Statistics::new()));
        assert_eq!(ethtool.driver("lo").map_err(|error| error.to_string()), Ok(String::new()));
    }

    #[test]
    fn text_ends_at_the_first_zero_byte_or_with_the_field() {
        assert_eq!(text(b"veth\0\0garbage"), "veth");
        assert_eq!(text(b"full"), "full");
    }
}
