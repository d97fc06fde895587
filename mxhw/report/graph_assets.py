"""Colours, style and behaviour of the graph's page; nothing here depends on a model."""

__all__ = ["SCRIPT", "STYLE", "kind_colour"]

_COLOURS = {
    "#1f6f8b": ("linear", "conv", "matmul", "expert_linear"),
    "#7a4fb5": ("attn_qk", "attn_pv", "attention"),
    "#b5479a": ("softmax", "router"),
    "#3f8f4f": ("rms_norm", "layer_norm", "group_norm", "batch_norm"),
    "#d1603d": ("act",),
    "#c9971c": ("add", "mul"),
    "#2f9e9e": ("rope", "rope_table"),
    "#5b6f9e": ("embedding",),
}
_BY_KIND = {kind: colour for colour, kinds in _COLOURS.items() for kind in kinds}


def kind_colour(kind: str) -> str:
    """Return the colour of a kind of node: products blue and violet, norms green, what has no colour grey."""
    return _BY_KIND.get(kind, "#8a8a86")


STYLE = """
body { max-width: 1600px; margin: 1.2rem auto 7rem; }
small { color: #666; font-size: .84em; }
header { position: sticky; top: 0; z-index: 2; background: #fff; padding: .5rem 0 .4rem;
  border-bottom: 1px solid #ccc; }
.find { display: flex; gap: .6rem; align-items: center; }
#search { flex: 1; min-width: 0; max-width: 34rem; font: inherit; padding: .3rem .6rem; border: 1px solid #888;
  border-radius: 5px; }
#found { color: #555; white-space: nowrap; }
button { font: inherit; font-size: .88rem; color: inherit; background: #f4f4f2; border: 1px solid #ccc;
  border-radius: 5px; padding: .1rem .55rem; cursor: pointer; white-space: nowrap; }
button:hover { border-color: #555; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem; margin: .45rem 0; }
.legend button { border-left: 7px solid var(--kind); }
.legend button.on { background: #222; color: #fff; }
.legend button.on small { color: #ddd; }
.legend small { margin-left: .4rem; }
.bar { display: flex; height: 6px; border-radius: 3px; overflow: hidden; }
details { margin: .3rem 0; }
summary { cursor: pointer; padding: .25rem .5rem; border-radius: 5px; }
summary:hover { background: #f0f0ee; }
summary > * { margin-right: .7rem; }
.structure { border: 1px solid #ccc; border-radius: 7px; padding: .25rem .4rem; margin: .7rem 0; }
.structure > summary { font-size: 1.05rem; }
.layer { margin-left: 1.1rem; }
.layer > summary { padding-top: .1rem; padding-bottom: .1rem; }
summary span { color: #555; }
.times { background: #222; color: #fff !important; border-radius: 5px; padding: 0 .45rem; }
.hot { background: rgb(205 60 30 / calc(var(--heat) * .5)); border-radius: 5px; padding: 0 .4rem;
  color: #222 !important; white-space: nowrap; }
.worst > summary { font-weight: 600; }
.worst p { margin: .2rem .5rem; max-width: none; }
.worst div { display: flex; flex-wrap: wrap; gap: 0 3rem; margin: 0 .5rem; }
.worst caption { text-align: left; padding-top: .4rem; }
body.searching .worst, body.searching thead { display: none; }
table.nodes { width: 100%; font-size: .9rem; table-layout: fixed; }
th.name { width: 17%; }
th.macs { width: 7.5rem; }
th.formats { width: 8.5rem; }
th.reads { width: 15%; }
th.hardware { width: 5rem; }
th.error { width: 9rem; }
table.nodes th { font-weight: 400; color: #666; border-bottom: 1px solid #ccc; font-size: .84rem; }
table.nodes td, table.nodes th { text-align: left; vertical-align: top; padding: .2rem .6rem; white-space: normal;
  overflow-wrap: anywhere; }
table.nodes td.macs, table.nodes td.error, table.nodes td.formats { white-space: nowrap; }
td.name { border-left: 7px solid var(--kind); }
td.name small { display: block; }
td.name i { font-style: normal; opacity: .75; }
td.shape { font-variant-numeric: tabular-nums; }
td.reads a, td.reads span { margin-right: .5rem; white-space: nowrap; }
a { color: #1f5f8b; text-decoration: none; }
a:hover { text-decoration: underline; }
tr.node { scroll-margin-top: 9rem; }
tr.node:hover, tr.node.selected { background: #eef3f6; }
tr.node.selected { outline: 2px solid #1f6f8b; outline-offset: -2px; }
.source > td, summary.source { box-shadow: inset 0 2px #c9971c, inset 0 -2px #c9971c; }
.reader > td, summary.reader { box-shadow: inset 0 2px #7a4fb5, inset 0 -2px #7a4fb5; }
#selected { position: fixed; left: 0; right: 0; bottom: 0; z-index: 3; background: #fff; border-top: 2px solid #1f6f8b;
  padding: .45rem 1.2rem; max-height: 30vh; overflow: auto; font-size: .9rem; box-shadow: 0 -3px 12px #0002; }
#selected b { margin-right: .8rem; overflow-wrap: anywhere; }
#selected p { margin: .1rem 0; max-width: none; }
#selected a { margin-right: .7rem; }
#selected button { float: right; }
.key { border-radius: 3px; padding: 0 .35rem; margin-right: .5rem; color: #fff; }
[hidden] { display: none !important; }
@media (max-width: 1100px) {
  header { position: static; }
  .find { position: sticky; top: 0; flex-wrap: wrap; }
  #search { flex-basis: 100%; }
  tr.node { scroll-margin-top: 1rem; }
  .layer { margin-left: 0; }
  table.nodes thead { display: none; }
  table.nodes tr { display: flex; flex-wrap: wrap; gap: 0 .9rem; border-left: 7px solid var(--kind);
    border-bottom: 1px solid #ddd; padding: .25rem 0 .25rem .5rem; }
  table.nodes td { border: 0; padding: 0; }
  table.nodes td:empty { display: none; }
  table.nodes td.name, table.nodes td.shape { flex-basis: 100%; min-width: 0; }
  td.name small { display: inline; margin-left: .5rem; }
  td div { display: inline; margin-right: .7rem; }
  td.formats { white-space: normal !important; }
  td.reads::before { content: "reads "; color: #666; }
  table.nodes td.error { flex-basis: 100%; white-space: normal; }
  td.error:not(:empty)::before { content: attr(data-of) ": "; color: #666; }
  .worst div { margin: 0; }
  .worst td:first-child { white-space: normal; overflow-wrap: anywhere; }
  .worst td, .worst th { padding: .28rem .3rem; }
}
"""

SCRIPT = """
'use strict';
const $ = id => document.getElementById(id);
const rows = [...document.querySelectorAll('tr.node')];
const tables = [...document.querySelectorAll('table.nodes')];
const sections = [...document.querySelectorAll('details.structure, details.layer')];
const buttons = [...document.querySelectorAll('.legend button')];
const text = new Map(rows.map(row => {
  const cells = [...row.querySelectorAll('td.name, td.formats, td.hardware')];
  return [row, [row.dataset.name, ...cells.map(cell => cell.textContent)].join(' ').toLowerCase()];
}));
const readers = new Map(rows.map(row => [row, []]));
for (const row of rows) for (const source of sources(row)) readers.get(source).push(row);

function sources(row) {
  return [...row.querySelectorAll('td.reads a')].map(link => $(link.getAttribute('href').slice(1)));
}

// Searching: every word must occur; the kinds chosen in the legend narrow it. Sections open where something is found.
let before = null;
function search() {
  const words = $('search').value.toLowerCase().split(/\\s+/).filter(Boolean);
  const kinds = new Set(buttons.filter(b => b.classList.contains('on')).map(b => b.dataset.kind));
  const active = words.length > 0 || kinds.size > 0;
  if (active && !before) before = new Map(sections.map(section => [section, section.open]));
  document.body.classList.toggle('searching', active);
  let found = 0;
  for (const row of rows) {
    const hit = words.every(word => text.get(row).includes(word)) && (!kinds.size || kinds.has(row.dataset.kind));
    row.hidden = !hit;
    found += hit;
  }
  for (const part of [...tables, ...sections]) {
    const any = !active || part.querySelector('tr.node:not([hidden])') !== null;
    part.hidden = !any;
    if (active && part.tagName === 'DETAILS') part.open = any;
  }
  if (!active && before) { for (const [section, open] of before) section.open = open; before = null; }
  $('found').textContent = active ? `${found} of ${rows.length} nodes` : '';
}
function clearSearch() {
  $('search').value = '';
  for (const button of buttons) button.classList.remove('on');
  search();
}
let waiting = 0;
$('search').addEventListener('input', () => { clearTimeout(waiting); waiting = setTimeout(search, 120); });
$('search').addEventListener('keydown', event => {
  if (event.key === 'Escape') clearSearch();
  if (event.key !== 'Enter') return;
  search();
  const hit = rows.find(row => !row.hidden);
  if (hit && before) select(hit, true);
});
for (const button of buttons)
  button.addEventListener('click', () => { button.classList.toggle('on'); search(); });
document.addEventListener('keydown', event => {
  if (event.key === '/' && document.activeElement !== $('search')) { event.preventDefault(); $('search').focus(); }
});
$('close').addEventListener('click', () => {
  clearSearch();
  for (const section of sections) section.open = false;
});

// A structure that is opened by hand shows its first layer.
for (const structure of document.querySelectorAll('details.structure'))
  structure.addEventListener('toggle', () => {
    if (structure.open && !before && !structure.querySelector('details.layer[open]'))
      structure.querySelector('details.layer').open = true;
  });

// Edges: what a node reads and who reads it is marked while the pointer is over it, and listed once it is chosen.
function visible(row) {
  let shown = row;
  for (let d = row.closest('details'); d; d = d.parentElement.closest('details'))
    if (!d.open) shown = d.querySelector('summary');
  return shown;
}
function mark(row, on) {
  for (const source of sources(row)) visible(source).classList.toggle('source', on);
  for (const reader of readers.get(row)) visible(reader).classList.toggle('reader', on);
}
for (const row of rows) {
  row.addEventListener('mouseenter', () => mark(row, true));
  row.addEventListener('mouseleave', () => {
    for (const each of document.querySelectorAll('.source, .reader')) each.classList.remove('source', 'reader');
  });
  row.addEventListener('click', event => { if (!event.target.closest('a')) select(row, false); });
}
function element(tag, content) {
  const made = document.createElement(tag);
  made.textContent = content;
  return made;
}
function links(title, colour, targets) {
  const line = element('p', ''), key = element('span', title);
  key.className = 'key';
  key.style.background = colour;
  line.append(key);
  for (const target of targets) {
    const link = element('a', target.dataset.name);
    link.href = '#' + target.id;
    line.append(link);
  }
  if (!targets.length) line.append(element('small', 'no other node'));
  return line;
}
function unselect() {
  for (const row of document.querySelectorAll('tr.selected')) row.classList.remove('selected');
  $('selected').hidden = true;
}
function select(row, scroll) {
  if (row.hidden) clearSearch();
  unselect();
  for (let d = row.closest('details'); d; d = d.parentElement.closest('details')) d.open = true;
  row.classList.add('selected');
  const close = element('button', 'close');
  close.addEventListener('click', unselect);
  $('selected').replaceChildren(close, element('b', row.dataset.name), element('small', row.dataset.kind),
    links('reads', '#c9971c', sources(row)), links('read by', '#7a4fb5', readers.get(row)));
  $('selected').hidden = false;
  if (scroll) row.scrollIntoView({block: 'center'});
}
document.addEventListener('click', event => {
  const link = event.target.closest('a[href^="#n"]');
  if (!link) return;
  event.preventDefault();
  history.replaceState(null, '', link.getAttribute('href'));
  select($(link.getAttribute('href').slice(1)), true);
});
if (location.hash.startsWith('#n') && $(location.hash.slice(1))) select($(location.hash.slice(1)), true);
"""
