//! Opening and blocking a port of a bridge, at once, from any thread.
//!
//! A port is blocked twice over, in one message to the kernel:
//!
//! - its *state* is `listening`: no frame goes in or out through the bridge. Not `blocking`, which the kernel turns
//!   back into forwarding at its next look when no spanning tree runs (`br_port_state_selection`), and not
//!   `disabled`, which it leaves at any change of the link (`br_port_carrier_check`). What the state does not
//!   survive is a carrier that goes and returns: then the kernel makes the port forward, before anybody can say
//!   anything;
//! - it is *held*: locked, and without learning and flooding. That the kernel never touches. A held port that the
//!   kernel makes forward takes nothing in, and lets out only what the box itself broadcasts, so that no loop
//!   closes until the state is written again, also when nobody is there to write it.
//!
//! While the kernel runs spanning tree on the bridge it refuses to have states written (EBUSY).

use std::io;

use rtnetlink::packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_REQUEST, NetlinkBuffer, NetlinkMessage, NetlinkPayload, Nla,
};
use rtnetlink::packet_route::link::{BridgePortState, InfoBridgePort, LinkAttribute, LinkMessage, LinkProtoInfoBridge};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

use crate::core::network::IfIndex;
use crate::os::OsError;

// `include/uapi/linux/if_link.h`; netlink-packet-route leaves them undecoded in IFLA_PROTINFO.
const IFLA_BRPORT_STATE: u16 = 1;
const IFLA_BRPORT_LEARNING: u16 = 8;
const IFLA_BRPORT_UNICAST_FLOOD: u16 = 9;
const IFLA_BRPORT_FLUSH: u16 = 24;
const IFLA_BRPORT_MCAST_FLOOD: u16 = 27;
const IFLA_BRPORT_BCAST_FLOOD: u16 = 30;
/// Linux 5.18.
const IFLA_BRPORT_LOCKED: u16 = 39;

/// `BR_STATE_…` (linux/if_bridge.h).
const LISTENING: u8 = 1;
const LEARNING: u8 = 2;
const FORWARDING: u8 = 3;

/// What a bridge says of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::os) struct PortView {
    /// `None`: the message did not say.
    pub state: Option<u8>,
    locked: bool,
    /// Learns, or floods anything.
    spreads: bool,
}

impl PortView {
    /// From IFLA_INFO_SLAVE_DATA.
    pub fn of_info(parts: &[InfoBridgePort]) -> Self {
        parts.iter().fold(Self::default(), |view, part| match part {
            InfoBridgePort::State(state) => view.with(IFLA_BRPORT_STATE, state_number(*state)),
            InfoBridgePort::Learning(on) => view.with(IFLA_BRPORT_LEARNING, (*on).into()),
            InfoBridgePort::UnicastFlood(on) => view.with(IFLA_BRPORT_UNICAST_FLOOD, (*on).into()),
            InfoBridgePort::MulticastFlood(on) => view.with(IFLA_BRPORT_MCAST_FLOOD, (*on).into()),
            InfoBridgePort::BroadcastFlood(on) => view.with(IFLA_BRPORT_BCAST_FLOOD, (*on).into()),
            InfoBridgePort::Locked(on) => view.with(IFLA_BRPORT_LOCKED, (*on).into()),
            _ => view,
        })
    }

    /// From IFLA_PROTINFO.
    pub fn of_protinfo(parts: &[LinkProtoInfoBridge]) -> Self {
        parts.iter().fold(Self::default(), |view, part| match part {
            LinkProtoInfoBridge::Other(nla) if nla.value_len() == 1 => {
                let mut value = [0];
                nla.emit_value(&mut value);
                let [value] = value;
                view.with(nla.kind(), value)
            }
            _ => view,
        })
    }

    fn with(mut self, kind: u16, value: u8) -> Self {
        match kind {
            IFLA_BRPORT_STATE => self.state = Some(value),
            IFLA_BRPORT_LOCKED => self.locked = value != 0,
            IFLA_BRPORT_LEARNING | IFLA_BRPORT_UNICAST_FLOOD | IFLA_BRPORT_MCAST_FLOOD | IFLA_BRPORT_BCAST_FLOOD => {
                self.spreads |= value != 0;
            }
            _ => {}
        }
        self
    }

    /// Held as [`PortStates::block`] holds it.
    pub fn is_held(self) -> bool {
        self.locked && !self.spreads
    }

    /// Frames go through. A held port counts as blocked, whatever state the kernel has given it.
    pub fn is_forwarding(self) -> bool {
        self.state == Some(FORWARDING) && !self.is_held()
    }

    /// Its state lets no frame in.
    pub fn is_shut(self) -> bool {
        !matches!(self.state, Some(FORWARDING | LEARNING))
    }
}

fn state_number(state: BridgePortState) -> u8 {
    state.into()
}

/// Opens and blocks ports of bridges, in the network namespace in which it was opened. It has a socket of its own and
/// waits for nothing but the kernel's own lock on the configuration of links (RTNL).
#[derive(Debug)]
pub struct PortStates {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl PortStates {
    /// Needs CAP_NET_ADMIN to do anything.
    pub fn open() -> Result<Self, OsError> {
        let failed = |source| OsError::from_io("opening a netlink socket", "NET_ADMIN", source);
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(failed)?;
        socket.bind_auto().map_err(failed)?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(failed)?;
        // An error without the request that it is about.
        socket.set_cap_ack(true).map_err(failed)?;
        socket.set_non_blocking(true).map_err(failed)?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(4096) })
    }

    /// From now on no frame goes through. A port without a carrier is held, and so stays blocked when the carrier
    /// returns.
    pub fn block(&mut self, port: IfIndex) -> Result<(), OsError> {
        let state = self.set(port, true, LISTENING);
        match state {
            // No state can be written then but `disabled`, which the port is in. The hold is written first.
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => Ok(()),
            other => other.map_err(|source| explain(format!("blocking interface {port}"), source)),
        }
    }

    /// From now on frames go through, where the port has a carrier; else when it comes.
    pub fn unblock(&mut self, port: IfIndex) -> Result<(), OsError> {
        match self.set(port, false, FORWARDING) {
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => Ok(()),
            other => other.map_err(|source| explain(format!("opening interface {port}"), source)),
        }
    }

    /// Forgets what was learnt on a port: machines may be elsewhere now.
    pub fn forget(&mut self, port: IfIndex) -> Result<(), OsError> {
        let flush = LinkProtoInfoBridge::Other(DefaultNla::new(IFLA_BRPORT_FLUSH, Vec::new()));
        self.change(port, vec![flush])
            .map_err(|source| explain(format!("forgetting what is on interface {port}"), source))
    }

    fn set(&mut self, port: IfIndex, held: bool, state: u8) -> io::Result<()> {
        let nla = |kind, value: &[u8]| LinkProtoInfoBridge::Other(DefaultNla::new(kind, value.to_vec()));
        let (locked, spreads) = (&[u8::from(held)], &[u8::from(!held)]);
        let mut parts = vec![
            nla(IFLA_BRPORT_LOCKED, locked),
            nla(IFLA_BRPORT_LEARNING, spreads),
            nla(IFLA_BRPORT_UNICAST_FLOOD, spreads),
            nla(IFLA_BRPORT_MCAST_FLOOD, spreads),
            nla(IFLA_BRPORT_BCAST_FLOOD, spreads),
            nla(IFLA_BRPORT_STATE, &[state]),
        ];
        if held {
            // What was learnt there would be let in, and sent there.
            parts.push(nla(IFLA_BRPORT_FLUSH, &[]));
        }
        self.change(port, parts)
    }

    fn change(&mut self, port: IfIndex, parts: Vec<LinkProtoInfoBridge>) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.interface_family = AddressFamily::Bridge;
        message.header.index = port;
        message.attributes.push(LinkAttribute::ProtoInfoBridge(parts));
        self.order(RouteNetlinkMessage::SetLink(message))
    }

    /// The kernel carries a request out while it is sent: its answer is there when that returns.
    fn order(&mut self, message: RouteNetlinkMessage) -> io::Result<()> {
        /// Answers to earlier requests that nobody waited for.
        const STALE_MAX: usize = 16;
        let mut request = NetlinkMessage::from(message);
        self.sequence = self.sequence.wrapping_add(1);
        request.header.sequence_number = self.sequence;
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        for _ in 0..STALE_MAX {
            self.buffer.clear();
            self.socket.recv(&mut self.buffer, 0)?;
            let Ok(head) = NetlinkBuffer::new_checked(&self.buffer) else { continue };
            if head.sequence_number() != self.sequence {
                continue;
            }
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&self.buffer)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            return match answer.payload {
                NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
                _ => Ok(()),
            };
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

fn explain(what: String, source: io::Error) -> OsError {
    match source.raw_os_error() {
        Some(libc::EBUSY) => OsError::SpanningTree { what },
        _ => OsError::from_io(what, "NET_ADMIN", source),
    }
}
