//! Which events are told as notifications, and what these carry.

use agentx::encodings::{ID, OctetString, Value, VarBind, VarBindList};

use super::mib::{NOTIFICATIONS, OBJECTS, Object, Syntax, id};
use crate::core::events::Event;

/// A notification: its number, its name, the event that it tells of, which is also what it says.
pub struct Trap {
    pub number: u32,
    pub name: &'static str,
    pub event: &'static str,
}

const fn trap(number: u32, name: &'static str, event: &'static str) -> Trap {
    Trap { number, name, event }
}

/// Numbers are for good.
pub const TRAPS: &[Trap] = &[
    trap(1, "lbdCheckDown", "check-down"),
    trap(2, "lbdCheckUp", "check-up"),
    trap(3, "lbdServiceDown", "service-down"),
    trap(4, "lbdServiceUp", "service-up"),
    trap(5, "lbdOwnerBecame", "owner-became"),
    trap(6, "lbdOwnerCeased", "owner-ceased"),
    trap(7, "lbdPathDown", "path-down"),
    trap(8, "lbdPathUp", "path-up"),
    trap(9, "lbdPeerUnready", "peer-unready"),
    trap(10, "lbdPeerReady", "peer-ready"),
    trap(11, "lbdPairAlarm", "pair-alarm"),
    trap(12, "lbdPortDown", "port-down"),
    trap(13, "lbdPortUp", "port-up"),
    trap(14, "lbdAlarmBegan", "alarm-began"),
    trap(15, "lbdAlarmEnded", "alarm-ended"),
    trap(16, "lbdStarted", "started"),
];

/// Number of the group of what notifications carry.
pub const GROUP: u32 = 11;
/// What each of them carries. Not to be read: there is none now.
pub const CARRIED: [Object; 4] = [
    Object { name: "lbdEventNumber", syntax: Syntax::Counter, says: "Number of the event; show events has it." },
    Object { name: "lbdEventSeverity", syntax: Syntax::Text, says: "error, warning, notice or info." },
    Object {
        name: "lbdEventSubject",
        syntax: Syntax::Text,
        says: "What it is about, by name: a server, a service, a port, a path. Empty for the box itself.",
    },
    Object { name: "lbdEventText", syntax: Syntax::Text, says: "What has happened, in words." },
];

/// Fields of events that name what they are about, the first that there is.
const SUBJECTS: [&str; 6] = ["server", "service", "port", "path", "about", "alarm"];

/// SNMPv2-MIB::snmpTrapOID.0.
const TRAP_OID: [u32; 11] = [1, 3, 6, 1, 6, 3, 1, 1, 4, 1, 0];

/// What is sent about an event; `None`: it is none that is told so.
pub fn told(event: &Event) -> Option<VarBindList> {
    let trap = TRAPS.iter().find(|trap| trap.event == event.event)?;
    let subject = SUBJECTS.iter().find_map(|field| event.fields.get(*field));
    let text = |text: &str| Value::OctetString(OctetString(text.to_owned()));
    let values = [
        Value::Counter64(event.number),
        text(event.severity.word()),
        text(subject.map_or("", String::as_str)),
        text(&event.text),
    ];
    let name = ID::try_from(TRAP_OID.to_vec()).ok()?;
    let mut carried = vec![VarBind::new(name, Value::ObjectIdentifier(id(&[NOTIFICATIONS, trap.number])?))];
    for (number, value) in (1..).zip(values) {
        carried.push(VarBind::new(id(&[OBJECTS, GROUP, number, 0])?, value));
    }
    Some(VarBindList(carried))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::events::What;
    use crate::core::moment::UnixTime;

    #[test]
    fn every_trap_tells_of_an_event_that_there_is() {
        for (number, trap) in (1..).zip(TRAPS) {
            assert_eq!(trap.number, number);
            assert!(What::ALL.iter().any(|event| event.name == trap.event), "{}", trap.event);
        }
    }

    #[test]
    fn a_trap_carries_number_severity_subject_and_words() {
        let event = Event::new(7, UnixTime::default(), &What::PortDown { port: "eth2".into() });
        let told = told(&event).unwrap();
        let shown: Vec<String> = told.0.iter().map(|one| format!("{} {:?}", one.name, one.data)).collect();
        assert_eq!(shown[0], "1.3.6.1.6.3.1.1.4.1.0 ObjectIdentifier(1.3.6.1.4.1.32473.1.0.12 (include: 0))");
        assert!(shown[3].ends_with("OctetString(OctetString(\"eth2\"))"), "{shown:?}");
        assert_eq!(super::told(&Event::new(8, UnixTime::default(), &What::Stopping {})), None);
    }
}
