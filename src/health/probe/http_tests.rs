use super::*;
use crate::config::TlsOptions;
use crate::health::probe::{ANSWER_BYTES_MAX, exercise::*};

const SERVER: &str = "192.0.2.80:80";

fn request(probe: HttpProbe) -> Arc<Request> {
    Arc::new(Request::new(&probe, SERVER.parse().unwrap()).unwrap())
}

fn plain() -> Http {
    Http::new(request(HttpProbe::default()))
}

fn searching(pattern: &str) -> Http {
    Http::new(request(HttpProbe { body: Some(pattern.into()), ..HttpProbe::default() }))
}

fn refused(probe: HttpProbe) -> String {
    Request::new(&probe, SERVER.parse().unwrap()).unwrap_err().to_string()
}

#[test]
fn a_request_names_host_and_probe_and_asks_for_the_end_of_the_connection() {
    let (out, next) = play(&mut plain(), []);
    assert_eq!(next, Next::Read);
    let expected = "GET / HTTP/1.1\r\nHost: 192.0.2.80\r\nUser-Agent: lbd-probe\r\nAccept: */*\r\n\
                    Accept-Encoding: identity\r\nConnection: close\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn the_port_stands_in_host_only_if_it_is_not_the_default_one() {
    let host = |at: &str, security: Security, host: Option<&str>| {
        let probe = HttpProbe { security, host: host.map(str::to_owned), ..HttpProbe::default() };
        let text = String::from_utf8(Request::new(&probe, at.parse().unwrap()).unwrap().bytes).unwrap();
        text.lines().nth(1).unwrap().to_owned()
    };
    let tls = || Security::Tls(TlsOptions::default());
    assert_eq!(host("192.0.2.80:8080", Security::Plain, None), "Host: 192.0.2.80:8080");
    assert_eq!(host("192.0.2.80:443", Security::Plain, None), "Host: 192.0.2.80:443");
    assert_eq!(host("192.0.2.80:443", tls(), None), "Host: 192.0.2.80");
    assert_eq!(host("192.0.2.80:80", tls(), None), "Host: 192.0.2.80:80");
    assert_eq!(host("[2001:db8::80]:80", Security::Plain, None), "Host: [2001:db8::80]");
    assert_eq!(host("[2001:db8::80]:81", Security::Plain, None), "Host: [2001:db8::80]:81");
    assert_eq!(host("192.0.2.80:8080", Security::Plain, Some("webmail.example.net")), "Host: webmail.example.net");
}

#[test]
fn answers_lead_to_their_verdicts() {
    let mismatch = |words| failure(FailureKind::Mismatch, words);
    let malformed = |words| failure(FailureKind::Malformed, words);
    let table: [(&[u8], Verdict); 14] = [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", success("200 OK")),
        (b"HTTP/1.0 200 OK\r\n\r\n", success("200 OK")),
        (b"HTTP/1.1 200 OK\nServer: old\n\n", success("200 OK")),
        (b"HTTP/1.1 204\r\n\r\n", success("204")),
        (b"HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n", success("302 Found")),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 Fine\r\n\r\n", success("200 Fine")),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 503 No\r\n\r\n", mismatch("status 503, not 200-399")),
        (b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 9\r\n\r\n", mismatch("status 503, not 200-399")),
        (b"HTTP/1.1 101 Switching\r\n\r\n", mismatch("status 101, not 200-399")),
        (b"220 mx1 ESMTP\r\n", malformed("no status line: 220 mx1 ESMTP")),
        (b"\r\nHTTP/1.1 200 OK\r\n\r\n", malformed("no status line: ")),
        (b"HTTP/1.1 2xx OK\r\n\r\n", malformed("invalid response status in: HTTP/1.1 2xx OK")),
        (b"HTTP/3.9 200 OK\r\n\r\n", malformed("invalid HTTP version in: HTTP/3.9 200 OK")),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", malformed("invalid header name in: HTTP/1.1 200 OK")),
    ];
    for (answer, expected) in table {
        assert_eq!(verdict(&mut plain(), answer), expected, "{}", answer.escape_ascii());
        same_however_split(plain, answer);
    }
}

#[test]
fn accepted_codes_are_named_as_they_are_configured() {
    let make = || Http::new(request(HttpProbe { status: vec![(200, 200), (401, 403)], ..HttpProbe::default() }));
    assert_eq!(verdict(&mut make(), b"HTTP/1.1 401 Log in\r\n\r\n"), success("401 Log in"));
    let expected = failure(FailureKind::Mismatch, "status 302, not 200, 401-403");
    assert_eq!(verdict(&mut make(), b"HTTP/1.1 302 Found\r\n\r\n"), expected);
}

#[test]
fn a_body_is_searched_however_its_end_is_told() {
    let found = success("200 OK, body matches");
    let missing = failure(FailureKind::Mismatch, "status 200, but no match for 'Web ?mail' in the body");
    let table: [(&[u8], &Verdict); 9] = [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n<b>Webmail</b>", &found),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<b>Webmail</b>", &missing),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", &missing),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n<Web\r\n5;x=\"1\"\r\n mail\r\n0\r\n\r\n", &found),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n3\nWeb\nC\n mailservice\n0\n", &found),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n7\r\nWebmail\r\n00\r\n", &found),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &missing),
        (b"HTTP/1.1 204 OK\r\n\r\nWebmail", &missing_of_204()),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\ncontent-length: 7\r\n\r\nWebmail", &found),
    ];
    for (answer, expected) in table {
        let make = || searching("Web ?mail");
        assert_eq!(verdict(&mut make(), answer), *expected, "{}", answer.escape_ascii());
        same_however_split(make, answer);
    }
}

fn missing_of_204() -> Verdict {
    failure(FailureKind::Mismatch, "status 204, but no match for 'Web ?mail' in the body")
}

#[test]
fn a_body_that_ends_with_the_connection_is_judged_then() {
    for (pattern, expected) in [
        ("mail$", success("200 OK, body matches")),
        ("post", failure(FailureKind::Mismatch, "status 200, but no match for 'post' in the body")),
    ] {
        let mut http = searching(pattern);
        assert_eq!(play(&mut http, [b"HTTP/1.1 200 OK\r\n\r\nWebmail".as_slice()]).1, Next::Read);
        assert_eq!(http.closed(), expected);
    }
}

#[test]
fn a_match_beyond_the_first_64_kib_is_none_and_nothing_more_is_waited_for() {
    let answer = |before: usize| {
        let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n".to_vec();
        answer.resize(answer.len() + before, b'.');
        answer.extend_from_slice(b"Webmail");
        answer
    };
    let mut http = searching("Webmail");
    assert_eq!(play(&mut http, [answer(1_000).as_slice()]).1, Next::Read, "the first 64 KiB have not come yet");
    let full = [answer(BODY_BYTES_MAX - 7), answer(BODY_BYTES_MAX - 6)];
    assert_eq!(verdict(&mut searching("Webmail"), &full[0]), success("200 OK, body matches"));
    let words = "status 200, but no match for 'Webmail' in the first 64 KiB of the body";
    assert_eq!(verdict(&mut searching("Webmail"), &full[1]), failure(FailureKind::Mismatch, words));
}

#[test]
fn a_head_request_waits_for_no_body() {
    let probe = || HttpProbe { method: "HEAD".into(), body: Some("x".into()), ..HttpProbe::default() };
    let verdict = verdict(&mut Http::new(request(probe())), b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
    assert_eq!(verdict, failure(FailureKind::Mismatch, "status 200, but no match for 'x' in the body"));
}

#[test]
fn chunks_and_lengths_that_cannot_be_are_malformed() {
    for body in ["x\r\n", "\r\n", "-1\r\n", "+5\r\n", "5\r\nWebmail\r\n", "fffffffffffffffff\r\n", "5 \n12345x"] {
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        let expected = failure(FailureKind::Malformed, "the body's chunks are not as announced");
        assert_eq!(verdict(&mut searching("x"), answer.as_bytes()), expected, "{body:?}");
        same_however_split(|| searching("x"), answer.as_bytes());
    }
    for length in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: +5",
        "Content-Length: 5, 5",
        "Content-Length:",
        "Content-Length: 18446744073709551616",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{length}\r\n\r\n");
        let expected = failure(FailureKind::Malformed, "content-length is not one number");
        assert_eq!(verdict(&mut searching("x"), answer.as_bytes()), expected, "{length:?}");
    }
}

#[test]
fn silence_and_each_place_where_an_answer_can_stop_have_their_own_words() {
    let table: [(&[u8], FailureKind, &str, &str); 5] = [
        (b"", FailureKind::Silent, "accepts connections, but no answer came", "closed without an answer"),
        (b"HTTP/1.1 2", FailureKind::Hung, "status line not complete", "closed within the status line"),
        (b"HTTP/1.1 200 OK\r\nServ", FailureKind::Hung, "header not complete", "closed within the header"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nWeb",
            FailureKind::Hung,
            "body not complete, 3 of 9 bytes",
            "closed within the body, 3 of 9 bytes",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nWeb",
            FailureKind::Hung,
            "body not complete, 3 bytes",
            "closed within the body, 3 bytes",
        ),
    ];
    for (answer, kind, words, closed) in table {
        let mut http = searching("x");
        assert_eq!(play(&mut http, [answer]).1, Next::Read);
        assert_eq!(http.timed_out(), Failure { kind, words: words.into() });
        assert_eq!(http.closed(), failure(FailureKind::Closed, closed));
    }
    let mut tls = plain();
    assert_eq!(play(&mut tls, [b"\x15\x03\x01\0\x02\x02\x46".as_slice()]).1, Next::Read);
    assert_eq!(tls.closed(), failure(FailureKind::Malformed, "no status line: ??????F"));
}

#[test]
fn a_head_has_a_limit_also_when_it_comes_in_many_interim_answers() {
    let overlong = failure(FailureKind::Overlong, "status line and header are longer than 16 KiB");
    let interim = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(700);
    assert_eq!(verdict(&mut plain(), &interim), overlong);
    let line = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &[b'x'; HEAD_BYTES_MAX]].concat();
    assert_eq!(verdict(&mut plain(), &line), overlong);
    let fields = [b"HTTP/1.1 200 OK\r\n".as_slice(), &b"a: b\r\n".repeat(FIELDS_MAX + 1), b"\r\n"].concat();
    assert_eq!(verdict(&mut plain(), &fields), failure(FailureKind::Overlong, "more than 100 header fields"));
}

#[test]
fn tiny_chunks_without_end_are_overlong() {
    let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    answer.extend(b"1\r\nx\r\n".repeat(ANSWER_BYTES_MAX));
    let expected = failure(FailureKind::Overlong, "more than 128 KiB, and still no end");
    assert_eq!(verdict(&mut searching("y"), &answer), expected);
    assert_eq!(play(&mut searching("y"), answer.chunks(1)).1, Next::Done(expected));
}

#[test]
fn what_would_break_the_request_is_refused_with_words() {
    let probe = HttpProbe::default;
    assert_eq!(
        refused(HttpProbe { method: "GET /".into(), ..probe() }),
        "method 'GET /' is not a word of letters: write GET or HEAD"
    );
    for path in ["", "index.html", "/a b", "/a\r\nX: y", "/ä"] {
        assert!(refused(HttpProbe { path: path.into(), ..probe() }).starts_with("path '"), "{path:?}");
    }
    for host in ["", "a b", "a\r\nX: y"] {
        assert!(refused(HttpProbe { host: Some(host.into()), ..probe() }).starts_with("host '"), "{host:?}");
    }
    let words = refused(HttpProbe { body: Some("(Web".into()), ..probe() });
    assert_eq!(words, "the regular expression of the body cannot be used: unclosed group");
    let huge = refused(HttpProbe { body: Some(r"\w{1000}{100}".into()), ..probe() });
    assert!(huge.contains("exceeds size limit"), "{huge}");
}

#[test]
fn whatever_a_server_sends_ends_and_costs_little() {
    let beginnings: [&[u8]; 5] = [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n",
    ];
    survives_floods(plain, &beginnings);
    survives_floods(|| searching("(a+)+$"), &beginnings);
}

proptest::proptest! {
    #[test]
    fn bytes_at_random_behind_a_sound_beginning_lead_to_the_same_however_they_come(
        start in 0..4_usize, bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80),
    ) {
        let starts: [&[u8]; 4] = [
            b"",
            b"HTTP/1.1 ",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ];
        same_however_split(|| searching("mail"), &[starts[start], &bytes].concat());
    }
}
