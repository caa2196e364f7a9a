//! report.html in a real browser: at the widths of a desktop and of a phone, light and dark.
//!
//! The page is shown unchanged in frames of a page of ours, whose script measures it from outside. Chromium is used where it is
//! installed (Debian: chromium); elsewhere the test says that it was skipped.

use crate::out::{Made, fleet, one_machine, small};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const WIDTHS: [u32; 3] = [1280, 768, 360];

fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let all = std::env::split_paths(&path).flat_map(|dir| names.map(|name| dir.join(name)));
    all.into_iter().find(|file| file.is_file())
}

/// The page in a frame of each width and scheme, and a script that tells what it measures as the title of the page.
fn harness(page: &str) -> String {
    let quoted = page.replace('&', "&amp;").replace('"', "&quot;");
    let frames = WIDTHS.iter().flat_map(|width| ["light", "dark"].map(|scheme| (width, scheme)));
    let frames: String = frames
        .map(|(width, scheme)| {
            format!(
                "<iframe data-scheme=\"{scheme}\" style=\"color-scheme:{scheme};border:0\" width=\"{width}\" height=\"900\" \
                 srcdoc=\"{quoted}\"></iframe>"
            )
        })
        .collect();
    format!(
        "<!doctype html><meta charset=\"utf-8\"><body>{frames}<pre id=\"told\"></pre><script>{MEASURE}</script></body>"
    )
}

const MEASURE: &str = r#"
const luminance = (color) => {
  const [r, g, b] = color.match(/[\d.]+/g).map(Number).map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (element, view) => {
  for (let e = element; e; e = e.parentElement) {
    const color = view.getComputedStyle(e).backgroundColor;
    if (!/, 0\)$/.test(color) && color !== 'transparent') return color;
  }
  return 'rgb(255, 255, 255)';
};
const measure = (frame) => {
  const view = frame.contentWindow, root = view.document.documentElement;
  const inside = (e) => !e.closest('.drawing');
  const wide = [...view.document.body.querySelectorAll('*')].filter(inside)
    .filter(e => e.getBoundingClientRect().right > root.clientWidth + 0.5 && e.getBoundingClientRect().width > 0)
    .map(e => e.tagName + '.' + e.className + ' ' + Math.round(e.getBoundingClientRect().right));
  const texts = [...view.document.body.querySelectorAll('p, td, th, li, h1, h2, h3, h4, .label, .value, .note, .core, .name, summary, footer')]
    .filter(e => e.textContent.trim() && e.getBoundingClientRect().width > 0);
  const pale = texts.map(e => {
    const a = luminance(view.getComputedStyle(e).color), b = luminance(behind(e, view));
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e];
  }).filter(([contrast]) => contrast < 4.5).map(([contrast, e]) => contrast.toFixed(2) + ' ' + e.className + ' ' + e.textContent.slice(0, 30));
  return {
    width: root.clientWidth, scroll: root.scrollWidth, height: root.scrollHeight, wide: wide.slice(0, 5), pale: [...new Set(pale)].slice(0, 8),
    dark: view.matchMedia('(prefers-color-scheme: dark)').matches, scheme: frame.dataset.scheme,
    loaded: view.performance.getEntriesByType('resource').map(r => r.name),
    cores: view.document.querySelectorAll('.core').length,
    small: Math.min(...texts.map(e => parseFloat(view.getComputedStyle(e).fontSize))),
    shapes: [...view.document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().height),
  };
};
window.addEventListener('load', () => {
  const frames = [...document.querySelectorAll('iframe')];
  document.getElementById('told').textContent = 'MEASURED' + JSON.stringify(frames.map(measure)) + 'END';
});
"#;

/// What each frame measured, and what the browser said beside it.
fn measured(chromium: &Path, page: &str) -> (Vec<Value>, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("harness.html");
    fs::write(&file, harness(page)).unwrap();
    let output = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--enable-logging=stderr", "--hide-scrollbars", "--window-size=1400,1000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", dir.path().join("profile").display()))
        .arg(format!("file://{}", file.display()))
        .output()
        .unwrap();
    let (dom, talk) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr).into_owned());
    let told = dom.split_once("id=\"told\">MEASURED").and_then(|(_, rest)| rest.split_once("END</pre>"));
    let (told, _) = told.unwrap_or_else(|| panic!("the script told nothing: {talk}"));
    let told = told.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    (serde_json::from_str(&told).unwrap(), talk)
}

fn assert_readable(chromium: &Path, made: &Made) {
    let (frames, talk) = measured(chromium, made.text("report.html"));
    let errors: Vec<_> = talk.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(errors.is_empty(), "the console says {errors:?}");
    assert_eq!(frames.len(), 2 * WIDTHS.len());
    for (i, frame) in frames.iter().enumerate() {
        assert_eq!(frame["width"], WIDTHS[i / 2], "no bar takes part of the width");
        assert_eq!(frame["scroll"], frame["width"], "{frame}");
        for (what, why) in [("wide", "leaves the page"), ("pale", "has too little contrast"), ("loaded", "is loaded")] {
            assert!(frame[what].as_array().unwrap().is_empty(), "{why}: {} at {}", frame[what], frame["width"]);
        }
        assert_eq!(frame["dark"], frame["scheme"] == "dark");
        assert!(frame["small"].as_f64().unwrap() >= 10.0, "letters of {} px", frame["small"]);
        assert!(frame["shapes"].as_array().unwrap().iter().all(|height| height.as_f64().unwrap() > 10.0), "{frame}");
        assert!(frame["cores"].as_u64().unwrap() > 0);
    }
}

#[test]
fn what_a_reader_would_stumble_over_is_found() {
    let Some(chromium) = chromium() else { return };
    let page = "<!doctype html><html><body style=\"margin:0;background:#ffffff\"><p style=\"width:400px\">wide</p>\
                <p style=\"color:#bbbbbb;font-size:8px\">pale</p><script>console.error('said')</script>\
                <img src=\"http://127.0.0.1:9/x.png\"/></body></html>";
    let (frames, talk) = measured(&chromium, page);
    let (desktop, phone) = (&frames[0], &frames[2 * WIDTHS.len() - 1]);
    assert_eq!((&desktop["scroll"], &phone["scroll"]), (&1280.into(), &400.into()));
    assert!(desktop["wide"].as_array().unwrap().is_empty() && !phone["wide"].as_array().unwrap().is_empty());
    assert!(desktop["pale"][0].as_str().unwrap().contains("pale") && desktop["small"] == 8.0, "{desktop}");
    assert_eq!(desktop["loaded"][0], "http://127.0.0.1:9/x.png");
    assert!(talk.lines().any(|line| line.contains("CONSOLE") && line.contains("said")), "{talk}");
}

#[test]
fn the_page_is_readable_in_a_browser_on_a_desktop_and_on_a_phone() {
    let Some(chromium) = chromium() else {
        let mut err = std::io::stderr();
        let _ = std::io::Write::write_all(
            &mut err,
            b"SKIPPED: no chromium in PATH, report.html was not shown in a browser\n",
        );
        return;
    };
    [one_machine(), small(), fleet()].iter().for_each(|made| assert_readable(&chromium, made));
}
