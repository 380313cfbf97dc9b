//! Whole frames in and out of an interface of a host (packet(7)).

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use lbd::lab::Host;

const FRAME_MAX: usize = 65_536;
/// packet(7); libc has no name for it.
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;

/// Hears every frame that comes in by an interface, whoever it is addressed to, and sends frames as they are.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
}

impl Wire {
    pub fn open(host: &Host, device: &str) -> Self {
        let device = device.to_owned();
        host.enter(move || Self::open_here(&device)).unwrap().unwrap()
    }

    fn open_here(device: &str) -> io::Result<Self> {
        let index = nix::net::if_::if_nametoindex(device)?;
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: a bare system call; its result is checked before it is used.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was opened above, and nobody else has it.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        for (level, option, value) in [
            (libc::SOL_PACKET, libc::PACKET_AUXDATA, 1),
            (libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, 1),
            (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 64 << 20),
        ] {
            set(&socket, level, option, value)?;
        }
        // SAFETY: all zeroes are a valid sockaddr_ll.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol;
        address.sll_ifindex = index as i32;
        // SAFETY: the pointer and the length are those of `address`, which lives across the call.
        let bound = unsafe {
            libc::bind(
                socket.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(Self { socket }) }
    }

    pub fn send(&self, frame: &[u8]) {
        // SAFETY: the pointer and the length are those of `frame`.
        let sent = unsafe { libc::send(self.socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        assert_eq!(sent, frame.len() as isize, "{}", io::Error::last_os_error());
    }

    /// The next frame as it was on the wire, its VLAN tag included; none until the deadline.
    pub fn receive(&self, deadline: Instant) -> Option<Vec<u8>> {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut poll = libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: the pointer is to one pollfd, as the count says.
        let ready = unsafe { libc::poll(&raw mut poll, 1, left.as_millis().min(60_000) as i32) };
        if ready <= 0 {
            return None;
        }
        self.take().map(Some).unwrap()
    }

    /// The first frame that is wanted; the test fails if there is none in time.
    pub fn expect<T>(&self, what: &str, wanted: impl Fn(&[u8]) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(5);
        while let Some(frame) = self.receive(deadline) {
            if let Some(value) = wanted(&frame) {
                return value;
            }
        }
        panic!("no such frame in five seconds: {what}");
    }

    /// The kernel takes a tag off before it hands the frame over, and tells it beside.
    fn take(&self) -> io::Result<Vec<u8>> {
        let mut frame = vec![0_u8; FRAME_MAX];
        let mut control = [0_u64; 16];
        let mut part = libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() };
        // SAFETY: all zeroes are a valid msghdr: no buffers.
        let mut message: libc::msghdr = unsafe { zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control) as _;
        // SAFETY: `message` points at `part` and `control`, `part` at `frame`; all live across the call.
        let length = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, 0) };
        if length < 0 {
            return Err(io::Error::last_os_error());
        }
        frame.truncate(length as usize);
        // SAFETY: the kernel has filled in `message`; its control buffer is still there, and is aligned
        // as cmsghdr wants, being of u64.
        let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
        while !header.is_null() {
            // SAFETY: not null, hence within the control buffer (cmsg(3)).
            let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
            if (level, kind) == (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
                // SAFETY: data of that type is a tpacket_auxdata (packet(7)), wherever it lies.
                let aux: libc::tpacket_auxdata =
                    unsafe { libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned() };
                if aux.tp_status & libc::TP_STATUS_VLAN_VALID != 0 {
                    let tag = [0x8100_u16.to_be_bytes(), aux.tp_vlan_tci.to_be_bytes()].concat();
                    frame.splice(12..12, tag);
                }
            }
            // SAFETY: as above.
            header = unsafe { libc::CMSG_NXTHDR(&raw const message, header) };
        }
        Ok(frame)
    }
}

fn set(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of `value`, which lives across the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

pub type Mac = [u8; 6];

/// `02:00:00:00:01:01` in bytes.
pub fn mac(text: &str) -> Mac {
    let bytes: Vec<u8> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

/// Puts an 802.1Q tag into an untagged frame.
pub fn tagged(frame: &[u8], tci: Option<u16>) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if let Some(tci) = tci {
        frame.splice(12..12, [0x8100_u16.to_be_bytes(), tci.to_be_bytes()].concat());
    }
    frame
}
