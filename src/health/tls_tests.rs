use std::collections::BTreeSet;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::*;

const NOW: Duration = Duration::from_secs(1_795_500_000);

fn certificate(name: &str, days: std::ops::Range<i64>) -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let day = |days: i64| {
        let seconds = NOW.as_secs() as i64 + days * DAY as i64;
        std::time::UNIX_EPOCH + Duration::from_secs(seconds as u64)
    };
    params.not_before = day(days.start).into();
    params.not_after = day(days.end).into();
    (params, KeyPair::generate().unwrap())
}

fn self_signed(name: &str, days: std::ops::Range<i64>) -> CertificateDer<'static> {
    let (params, key) = certificate(name, days);
    params.self_signed(&key).unwrap().der().clone()
}

fn asked(name: Option<&str>, roots: Option<RootCertStore>, min_days: Option<u16>) -> Asked {
    let options = TlsOptions { name: name.map(str::to_owned), ca_file: None, min_days };
    Asked::new(&options, roots.map(Arc::new)).unwrap()
}

fn words(chain: &[CertificateDer<'_>], asked: &Asked) -> Result<String, String> {
    match judge(chain, asked, NOW) {
        Ok(validity) => Ok(validity.unwrap().words(NOW)),
        Err(failure) => {
            assert_eq!(failure.kind, FailureKind::Certificate);
            Err(failure.words)
        }
    }
}

#[test]
fn a_certificate_that_nothing_is_asked_of_will_do_whatever_it_says() {
    let nothing = asked(None, None, None);
    for (days, expected) in [
        (-1..90, "certificate ends in 90 days"),
        (-1..1, "certificate ends in 1 day"),
        (-90..-3, "certificate ended 3 days ago (2026-11-21)"),
        (2..90, "certificate is not valid before 2026-11-26"),
    ] {
        assert_eq!(words(&[self_signed("mx1.example", days)], &nothing).as_deref(), Ok(expected));
    }
    assert_eq!(judge(&[b"rubbish".to_vec().into()], &nothing, NOW), Ok(None));
}

#[test]
fn a_certificate_that_ends_soon_or_has_ended_fails_when_days_are_asked() {
    let fortnight = asked(None, None, Some(14));
    let chain = |days| [self_signed("mx1.example", days)];
    assert_eq!(words(&chain(-1..3), &fortnight).unwrap_err(), "certificate ends in 3 days (2026-11-27), fewer than 14");
    assert_eq!(words(&chain(-9..-1), &fortnight).unwrap_err(), "certificate ended 1 day ago (2026-11-23)");
    assert_eq!(words(&chain(5..90), &fortnight).unwrap_err(), "certificate is not valid before 2026-11-29");
    assert!(words(&chain(-1..14), &fortnight).is_ok());
    assert_eq!(
        judge(&[b"rubbish".to_vec().into()], &fortnight, NOW).unwrap_err().words,
        "the certificate cannot be read"
    );
}

#[test]
fn a_certificate_of_another_name_fails_when_a_name_is_asked() {
    let chain = [self_signed("mx1.example", -1..90)];
    assert!(words(&chain, &asked(Some("mx1.example"), None, None)).is_ok());
    assert_eq!(
        words(&chain, &asked(Some("mx2.example"), None, None)).unwrap_err(),
        "certificate is of another name: mx1.example, not mx2.example"
    );
}

#[test]
fn a_chain_must_lead_to_an_authority_that_is_asked_for() {
    let (mut params, key) = certificate("an authority", -1..90);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "an authority");
    let authority = CertifiedIssuer::self_signed(params, key).unwrap();
    let (params, key) = certificate("mx1.example", -1..90);
    let signed = params.signed_by(&key, &authority).unwrap().der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let trusted = asked(None, Some(roots), None);
    assert!(words(&[signed], &trusted).is_ok());
    let own = words(&[self_signed("mx1.example", -1..90)], &trusted).unwrap_err();
    assert!(own.starts_with("certificate is not trusted: its issuer is not among those of ca-file"), "{own}");
}

#[test]
fn days_of_the_calendar_are_right() {
    let dates: BTreeSet<String> = [0, 951_782_400, 1_709_164_800, 4_102_444_799].map(date).into();
    assert_eq!(dates, ["1970-01-01", "2000-02-29", "2024-02-29", "2099-12-31"].map(str::to_owned).into());
}

#[test]
fn a_server_that_speaks_in_clear_is_quoted_and_rubbish_is_not() {
    let mut tls = Tls::new(asked(None, None, None), [127, 0, 0, 1].into()).unwrap();
    let failure = tls.received(b"220 mx1 ESMTP\r\nmore", &mut Vec::new(), NOW).unwrap_err();
    assert_eq!(
        (failure.kind, failure.words.as_str()),
        (FailureKind::Tls, "no TLS here, the server says '220 mx1 ESMTP'")
    );
    let mut tls = Tls::new(asked(None, None, None), [127, 0, 0, 1].into()).unwrap();
    let failure = tls.received(&[0xff; 600], &mut Vec::new(), NOW).unwrap_err();
    assert_eq!(failure.words, "the answer is not TLS");
}
