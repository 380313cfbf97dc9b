//! docs/snmp/LBD-MIB.txt: the objects as SMIv2 has them (RFC 2578, 2579, 2580), from the same rows as the answers.

use std::fmt::Write;

use super::mib::{NOTIFICATIONS, OBJECTS, Object, Syntax};
use super::objects::{GROUPS, TABLES};
use super::traps::{CARRIED, GROUP, TRAPS};
use crate::core::events::What;
use crate::os::ENTERPRISE;

/// What stands above the objects.
fn head() -> String {
    format!(
        "LBD-MIB DEFINITIONS ::= BEGIN

-- As `lbd mib` prints it.

IMPORTS
    MODULE-IDENTITY, OBJECT-TYPE, NOTIFICATION-TYPE, enterprises, Counter64, Gauge32
        FROM SNMPv2-SMI
    TruthValue
        FROM SNMPv2-TC
    SnmpAdminString
        FROM SNMP-FRAMEWORK-MIB
    MODULE-COMPLIANCE, OBJECT-GROUP, NOTIFICATION-GROUP
        FROM SNMPv2-CONF;

lbdMIB MODULE-IDENTITY
    LAST-UPDATED \"202611280000Z\"
    ORGANIZATION \"lbd\"
    CONTACT-INFO \"Whoever runs this balancer.\"
    DESCRIPTION  \"Objects of lbd, a layer-4 load balancer and health checker. {ENTERPRISE} is the number that RFC 5612 keeps
                  for documentation.\"
    REVISION     \"202611280000Z\"
    DESCRIPTION  \"The first one.\"
    ::= {{ enterprises {ENTERPRISE} 1 }}

lbdNotifications OBJECT IDENTIFIER ::= {{ lbdMIB {NOTIFICATIONS} }}
lbdObjects       OBJECT IDENTIFIER ::= {{ lbdMIB {OBJECTS} }}
lbdConformance   OBJECT IDENTIFIER ::= {{ lbdMIB 2 }}
"
    )
}

fn syntax(syntax: Syntax) -> String {
    match syntax {
        Syntax::Text => "SnmpAdminString".into(),
        Syntax::Gauge => "Gauge32".into(),
        Syntax::Counter => "Counter64".into(),
        Syntax::Truth => "TruthValue".into(),
        Syntax::Word(words) => {
            let words: Vec<String> = words.iter().map(|(word, number)| format!("{word}({number})")).collect();
            format!("INTEGER {{ {} }}", words.join(", "))
        }
    }
}

/// Names are bounded, so that an identifier has no more than 128 parts.
fn index_syntax(of: Syntax) -> String {
    match of {
        Syntax::Text => "SnmpAdminString (SIZE (1..64))".into(),
        other => syntax(other),
    }
}

fn object(out: &mut String, object: &Object, syntax: &str, access: &str, at: &str) {
    _ = write!(
        out,
        "\n{} OBJECT-TYPE\n    SYNTAX      {syntax}\n    MAX-ACCESS  {access}\n    STATUS      current\n    \
         DESCRIPTION \"{}\"\n    ::= {{ {at} }}\n",
        object.name, object.says
    );
}

fn capital(name: &str) -> String {
    name.chars().enumerate().map(|(at, c)| if at == 0 { c.to_ascii_uppercase() } else { c }).collect()
}

/// The whole module.
pub fn module() -> String {
    let mut out = head();
    let mut readable: Vec<&str> = Vec::new();
    for group in GROUPS {
        _ = write!(
            out,
            "\n-- {}\n\n{} OBJECT IDENTIFIER ::= {{ lbdObjects {} }}\n",
            group.says, group.name, group.number
        );
        for (number, one) in (1..).zip(group.objects) {
            object(&mut out, one, &syntax(one.syntax), "read-only", &format!("{} {number}", group.name));
            readable.push(one.name);
        }
    }
    for table in TABLES {
        let (row, entry) = (table.name, capital(table.name));
        let index: Vec<&str> = table.index.iter().map(|one| one.name).collect();
        _ = write!(
            out,
            "\n-- {says}\n\n{row}Table OBJECT-TYPE\n    SYNTAX      SEQUENCE OF {entry}Entry\n    MAX-ACCESS  not-accessible\n    \
             STATUS      current\n    DESCRIPTION \"{says}\"\n    ::= {{ lbdObjects {} }}\n\n{row}Entry OBJECT-TYPE\n    \
             SYNTAX      {entry}Entry\n    MAX-ACCESS  not-accessible\n    STATUS      current\n    \
             DESCRIPTION \"One of them. The names are those of the configuration.\"\n    INDEX       {{ {} }}\n    \
             ::= {{ {row}Table 1 }}\n\n{entry}Entry ::= SEQUENCE {{\n",
            table.number,
            index.join(", "),
            says = table.says,
        );
        let all = || table.index.iter().map(|one| (one, true)).chain(table.columns.iter().map(|one| (one, false)));
        let bare = |of: Syntax| if matches!(of, Syntax::Word(_)) { "INTEGER".to_owned() } else { syntax(of) };
        let members: Vec<String> = all().map(|(one, _)| format!("    {} {}", one.name, bare(one.syntax))).collect();
        _ = write!(out, "{}\n}}\n", members.join(",\n"));
        for (number, (one, is_index)) in (1..).zip(all()) {
            let at = format!("{row}Entry {number}");
            if is_index {
                object(&mut out, one, &index_syntax(one.syntax), "not-accessible", &at);
            } else {
                object(&mut out, one, &syntax(one.syntax), "read-only", &at);
                readable.push(one.name);
            }
        }
    }
    _ = write!(out, "\n-- What notifications carry.\n\nlbdEvent OBJECT IDENTIFIER ::= {{ lbdObjects {GROUP} }}\n");
    for (number, one) in (1..).zip(&CARRIED) {
        object(&mut out, one, &syntax(one.syntax), "accessible-for-notify", &format!("lbdEvent {number}"));
    }
    let carried: Vec<&str> = CARRIED.iter().map(|one| one.name).collect();
    for trap in TRAPS {
        let says = What::ALL.iter().find(|event| event.name == trap.event).map_or("", |event| event.meaning.trim());
        _ = write!(
            out,
            "\n{} NOTIFICATION-TYPE\n    OBJECTS     {{ {} }}\n    STATUS      current\n    DESCRIPTION \"{says}\"\n    \
             ::= {{ lbdNotifications {} }}\n",
            trap.name,
            carried.join(", "),
            trap.number
        );
    }
    conformance(&mut out, &readable, &carried);
    out
}

fn conformance(out: &mut String, readable: &[&str], carried: &[&str]) {
    let listed = |names: Vec<&str>| format!("        {}", names.join(",\n        "));
    let objects = listed(readable.iter().chain(carried).copied().collect());
    let traps = listed(TRAPS.iter().map(|trap| trap.name).collect());
    _ = write!(
        out,
        "\n-- Conformance.\n\nlbdObjectGroup OBJECT-GROUP\n    OBJECTS {{\n{objects}\n    }}\n    STATUS      current\n    \
         DESCRIPTION \"All objects.\"\n    ::= {{ lbdConformance 1 }}\n\nlbdNotificationGroup NOTIFICATION-GROUP\n    \
         NOTIFICATIONS {{\n{traps}\n    }}\n    STATUS      current\n    DESCRIPTION \"All notifications.\"\n    \
         ::= {{ lbdConformance 2 }}\n\nlbdCompliance MODULE-COMPLIANCE\n    STATUS      current\n    \
         DESCRIPTION \"What this program does.\"\n    MODULE\n        MANDATORY-GROUPS {{ lbdObjectGroup, lbdNotificationGroup }}\n    \
         ::= {{ lbdConformance 3 }}\n\nEND\n"
    );
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::golden::hold;

    #[test]
    fn the_module_is_that_of_the_program() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/snmp/LBD-MIB.txt");
        hold(&path, &module()).unwrap_or_else(|difference| panic!("{difference}"));
    }
}
