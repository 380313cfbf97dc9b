//! Sessions in the pages of the documentation, between marks.

use std::path::Path;

use anyhow::{Context, bail};

use super::Sessions;

const BEGIN: &str = "<!-- session: ";
const END: &str = "<!-- end of session -->";

/// Puts each session where a page of the directory has its marks.
pub fn write(docs: &Path, sessions: &Sessions) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(docs).with_context(|| docs.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let page = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let new = filled(&page, sessions).with_context(|| path.display().to_string())?;
        if new != page {
            std::fs::write(&path, new).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

/// The page with what the sessions say now.
fn filled(page: &str, sessions: &Sessions) -> anyhow::Result<String> {
    let (mut out, mut rest) = (String::new(), page);
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (name, after) = after.split_once(" -->").context("a mark without an end")?;
        let Some((_, after)) = after.split_once(END) else { bail!("session {name}: the mark of its end is missing") };
        let text = sessions.get(name).with_context(|| format!("no script has the session {name}"))?;
        out += &format!("{before}{BEGIN}{name} -->\n\n");
        text.lines().for_each(|line| {
            out += format!("    {line}").trim_end();
            out.push('\n');
        });
        out += &format!("\n{END}");
        rest = after;
    }
    Ok(out + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_takes_the_place_of_the_one_before_and_the_rest_of_the_page_stays() {
        let sessions = Sessions::from([("look".into(), "lb1#show clock\n\nnow\n".into())]);
        let page = "a\n\n<!-- session: look -->\nold\n<!-- end of session -->\n\nb\n";
        let new = "a\n\n<!-- session: look -->\n\n    lb1#show clock\n\n    now\n\n<!-- end of session -->\n\nb\n";
        assert_eq!(filled(page, &sessions).unwrap(), new);
        assert_eq!(filled(new, &sessions).unwrap(), new);
        assert!(filled("<!-- session: other --> <!-- end of session -->", &sessions).is_err());
        assert!(filled("<!-- session: look -->", &sessions).is_err());
    }

    /// Nobody has changed a session by hand, in its file or in a page.
    #[test]
    fn the_pages_show_what_was_recorded() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        let mut sessions = Sessions::new();
        for entry in std::fs::read_dir(docs.join("sessions")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "txt") {
                let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
                sessions.insert(name, std::fs::read_to_string(path).unwrap());
            }
        }
        let mut shown = 0;
        for entry in std::fs::read_dir(&docs).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let page = std::fs::read_to_string(&path).unwrap();
                assert_eq!(filled(&page, &sessions).unwrap(), page, "{}: `make record` writes it anew", path.display());
                shown += page.matches(BEGIN).count();
            }
        }
        assert!(shown >= sessions.len(), "{shown} of {} sessions are shown", sessions.len());
    }
}
