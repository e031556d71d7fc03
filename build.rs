//! Writes what `src/http/assets.rs` embeds: every file of `assets/web` as it is sent, under `identity/`, and the same
//! bytes compressed, under `br/` and `gzip/`. Nothing is compressed while the server runs, and no compressed file is
//! committed that could be older than its source. What the page says without JavaScript is put into it here, in every
//! language, as nothing could translate it later.

use flate2::{Compression, write::GzEncoder};
use std::{
    env,
    error::Error,
    ffi::OsStr,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=assets/web");
    let out = env::var("OUT_DIR")?;
    let folder = format!("{out}/web");
    // A file that is gone from `assets/web` must not stay embedded.
    if Path::new(&folder).exists() {
        fs::remove_dir_all(&folder)?;
    }
    pack(Path::new("assets/web"), Path::new(""), Path::new(&folder))?;
    // The attribute takes a literal, so the struct is written where the path is known. rust-embed could expand $OUT_DIR
    // itself, but the crates it takes for that include one under MPL-2.0, which `.cargo/deny.toml` does not allow.
    let embedded = format!("#[derive(RustEmbed)]\n#[folder = {folder:?}]\nstruct Files;\n");
    Ok(fs::write(format!("{out}/web.rs"), embedded)?)
}

fn pack(source: &Path, name: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    if source.is_dir() {
        for entry in fs::read_dir(source)? {
            let entry = entry?;
            pack(&entry.path(), &name.join(entry.file_name()), folder)?;
        }
        return Ok(());
    }
    let sent = match name.extension().and_then(OsStr::to_str) {
        Some("js") => without_comments(&fs::read_to_string(source)?).into_bytes(),
        Some("html") => fs::read_to_string(source)?.replace("<!-- noscript -->", &noscript()?).into_bytes(),
        _ => fs::read(source)?,
    };
    let mut brotli = Vec::new();
    brotli::BrotliCompress(&mut &*sent, &mut brotli, &brotli::enc::BrotliEncoderParams { size_hint: sent.len(), ..Default::default() })?;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&sent)?;
    for (coding, data) in [("identity", sent), ("br", brotli), ("gzip", gzip.finish()?)] {
        let path = folder.join(coding).join(name);
        fs::create_dir_all(path.parent().expect("a folder per coding"))?;
        fs::write(path, data)?;
    }
    Ok(())
}

/// The text `noscript` of every catalogue, a paragraph each. The catalogues are formatted by Prettier, so a text is a line.
fn noscript() -> Result<String, Box<dyn Error>> {
    let mut files: Vec<_> = fs::read_dir("assets/web/lang")?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.sort();
    let paragraph = |file: &PathBuf| {
        let catalogue = fs::read_to_string(file)?;
        let text = |key: &str| {
            let line = catalogue.lines().find_map(|line| line.trim().strip_prefix(&format!("\"{key}\": \""))?.strip_suffix("\","));
            line.filter(|text| !text.contains(['<', '&', '\\', '"'])).ok_or_else(|| format!("{}: no plain line {key}", file.display()))
        };
        let (language, direction) = (text("language")?, text("direction")?);
        Ok(format!("<p class=\"lead\" lang=\"{language}\" dir=\"{direction}\">{}</p>", text("noscript")?))
    };
    files.iter().map(paragraph).collect()
}

/// Types and reasons are written for who changes a script, and would be a third of what every visitor loads. Only lines
/// that are comments from end to end are left out, so that nothing in quotes is taken for one.
fn without_comments(script: &str) -> String {
    let mut is_inside = false;
    let is_code = |line: &&str| {
        let line = line.trim();
        let begins = line.starts_with("/*") && line.find("*/").is_none_or(|end| end + 2 == line.len());
        let is_comment = is_inside || begins || line.starts_with("//");
        is_inside = (is_inside || begins) && !line.contains("*/");
        !is_comment
    };
    script.lines().filter(is_code).flat_map(|line| [line, "\n"]).collect()
}
