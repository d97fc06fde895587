"""Style and behaviour of a search's page; nothing here depends on a search.

Pictures are drawn when the page is opened, from the JSON in `#record`. Plotly reads tags in its texts, so whatever
comes from the record passes through `plain` before it is shown. Traces have fixed uids ("chosen", "front", "line", …),
by which their groups in the drawing are found: `#front .tracechosen path.point`.
"""

__all__ = ["SCRIPT", "STYLE"]

STYLE = """
.states { display: flex; height: 8px; border-radius: 4px; overflow: hidden; max-width: 36rem; }
.states .complete { background: #1f6f8b; }
.states .stopped { background: #c9971c; }
.states .infeasible { background: #c4c4c0; }
#chosen { border: 1px solid #ccc; border-left: 7px solid #f2c14e; border-radius: 7px; padding: .5rem 1rem;
  margin: 1.1rem 0; }
#chosen p { margin: .4rem 0; }
#chosen ul { margin: .2rem 0 .5rem; padding-left: 1.2rem; color: #555; overflow-wrap: anywhere; }
.figures { display: flex; flex-wrap: wrap; gap: .3rem 2.2rem; }
.figures b { display: block; font-size: 1.15rem; }
.figures small { color: #666; }
.controls { display: flex; flex-wrap: wrap; gap: .4rem 1.4rem; max-width: none; margin: .5rem 0; }
select, button { font: inherit; font-size: .9rem; color: inherit; background: #f4f4f2; border: 1px solid #ccc;
  border-radius: 5px; padding: .1rem .45rem; max-width: 100%; }
button { cursor: pointer; white-space: nowrap; }
select:hover, button:hover { border-color: #555; }
.picture { width: 100%; }
tr.chosen td { background: #fdf6e3; }
#front-table tr[data-trial] { cursor: pointer; }
#front-table tr[data-trial]:hover td { background: #eef3f6; }
table.facts td { text-align: left; white-space: normal; overflow-wrap: anywhere; vertical-align: top; }
#formats-parameters { color: #555; font-size: .9rem; overflow-wrap: anywhere; }
"""

SCRIPT = """
'use strict';
const $ = id => document.getElementById(id);
const record = JSON.parse($('record').textContent);
const plain = text => String(text).replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
const number = value => value == null ? 'no figure'
  : Math.abs(value) >= 1000 ? value.toLocaleString('en', {maximumFractionDigits: 0})
  : String(+value.toPrecision(5));
const title = objective => plain(objective.unit ? objective.name + ', ' + objective.unit : objective.name);
const narrow = () => document.body.clientWidth < 700;
const byNumber = new Map(record.trials.map(trial => [trial.number, trial]));
const HOVERED = 10, BARS = 25, DECADES = 8, INK = '#2b2b2b';

function draw(id, traces, height, more) {
  const zooms = !more.yaxis.fixedrange && !narrow();
  return Plotly.react(id, traces, {
    template: record.template, height, font: {family: 'system-ui, sans-serif', size: 12},
    margin: {l: 10, r: 10, t: 20, b: 45}, hoverlabel: {align: 'left'},
    legend: {orientation: 'h', y: 1.02, yanchor: 'bottom', x: 0}, ...more,
  }, {displaylogo: false, responsive: true, displayModeBar: zooms && 'hover',
    modeBarButtonsToRemove: ['lasso2d', 'select2d']});
}

function words(trial) {
  const lines = ['<b>trial ' + trial.number + '</b>, ' + plain(trial.source) +
    (trial.state === 'complete' ? '' : ', ' + trial.state) + (trial.worker ? ', ' + plain(trial.worker) : '')];
  record.objectives.forEach((objective, i) => {
    if (trial.values[i] != null) lines.push(title(objective) + ': <b>' + number(trial.values[i]) + '</b>');
  });
  const named = new Set(record.objectives.map(objective => objective.name));
  for (const [name, value] of Object.entries(trial.figures).filter(([name]) => !named.has(name)).slice(0, HOVERED)) {
    const unit = record.units[name];
    lines.push(plain(name) + ': ' + number(value) + (unit ? ' ' + plain(unit) : ''));
  }
  trial.summary.forEach(line => lines.push(plain(line)));
  if (trial.reason) lines.push(plain(trial.reason));
  if (trial.seconds) lines.push(number(trial.seconds) + ' s');
  return lines.map(folded).join('<br>');
}

function folded(line) {  // a line of hover text, broken at spaces
  const parts = [''];
  for (const word of line.split(' ')) {
    if (parts.at(-1).length + word.length > 70) parts.push('');
    parts[parts.length - 1] += (parts.at(-1) ? ' ' : '') + word;
  }
  return parts.join('<br>');
}

// What is known of a trial in an objective: its value, else the figure of that name.
const valueOf = (trial, i) => trial.values[i] ?? trial.figures[record.objectives[i].name] ?? null;

function axis(i, other) {  // values, whether they call for a logarithmic scale, and the place for what has none
  const known = other.map(trial => valueOf(trial, i)).filter(value => value != null);
  const low = Math.min(...known), high = Math.max(...known);
  const log = $('front-log').checked && low > 0 && high / low >= 10;
  const small = record.objectives[i].direction === 'minimize';
  const margin = log ? (high / low) ** .08 : (high - low || Math.abs(high) || 1) * .08;
  const worst = log ? (small ? high * margin : low / margin) : (small ? high + margin : low - margin);
  return {log, at: trial => valueOf(trial, i) ?? worst};
}

function points(uid, name, trials, x, y, marker, more) {
  return {
    type: 'scatter', mode: 'markers', uid, name, marker, x: trials.map(x.at), y: trials.map(y.at),
    customdata: trials.map(trial => trial.number), text: trials.map(words),
    hovertemplate: '%{text}<extra></extra>', ...more,
  };
}

function limits(i, letter) {  // a line where a constraint bounds an objective
  const bound = record.constraints[record.objectives[i].name];
  if (!bound) return [];
  const across = letter === 'x' ? {x0: bound.limit, x1: bound.limit, y0: 0, y1: 1, yref: 'paper'}
    : {y0: bound.limit, y1: bound.limit, x0: 0, x1: 1, xref: 'paper'};
  return [{type: 'line', line: {color: '#b3261e', width: 1.2, dash: 'dash'}, ...across}];
}

function drawFront() {
  const [i, j] = [+$('front-x').value, +$('front-y').value];
  const drawn = record.trials.filter(trial => valueOf(trial, i) != null || valueOf(trial, j) != null);
  const x = axis(i, drawn), y = axis(j, drawn);
  const of = (state, source) => drawn.filter(trial => trial.state === state && (!source || trial.source === source));
  const traces = [points('infeasible', 'infeasible', of('infeasible'), x, y,
    {symbol: 'x-thin', size: 7, line: {width: 1.3, color: '#b3261e'}}, {opacity: .55})];
  traces.push(points('stopped', 'stopped early', of('stopped'), x, y,
    {symbol: 'circle-open', size: 8, color: '#c9971c'}));
  for (const [source, color] of Object.entries(record.colours)) {
    const marker = {color, size: 8, opacity: .75};
    traces.push(points('complete-' + source, plain(source), of('complete', source), x, y, marker));
  }
  const line = record.pairs[i + ' ' + j] ?? [];
  const shape = record.objectives[i].direction === 'minimize' ? 'hv' : 'vh';
  traces.unshift({type: 'scatter', mode: 'lines', uid: 'line', name: 'front of these two', hoverinfo: 'skip',
    x: line.map(point => point[0]), y: line.map(point => point[1]),
    line: {shape, color: '#999', width: 1.5, dash: 'dot'}});
  const front = record.front.map(n => byNumber.get(n));
  traces.push(points('front', 'front', front, x, y,
    {symbol: 'circle-open', size: 14, color: INK, line: {width: 1.5}}));
  const chosen = record.chosen == null ? [] : [byNumber.get(record.chosen)];
  traces.push(points('chosen', 'chosen', chosen, x, y,
    {symbol: 'star', size: 17, color: '#f2c14e', line: {color: INK, width: 1.5}}));
  const scale = (which, k) => ({
    title: {text: title(record.objectives[k]), standoff: 8}, automargin: true,
    type: which.log ? 'log' : 'linear', ...(which.log ? {dtick: 'D2'} : {}),
  });
  return draw('front', traces.filter(trace => trace.x.length), narrow() ? 460 : 520, {
    xaxis: scale(x, i), yaxis: scale(y, j), hovermode: 'closest',
    shapes: [...limits(i, 'x'), ...limits(j, 'y')],
  });
}

function drawHypervolume() {
  const at = record.trials.map((_, i) => i + 1);
  const traces = [{type: 'scatter', mode: 'lines', uid: 'curve', showlegend: false, hoverinfo: 'skip',
    x: at, y: record.hypervolume, line: {shape: 'hv', color: '#999', width: 1.5}}];
  const groups = [...Object.entries(record.colours).map(([source, color]) =>
    ['complete', source, {color, size: 6}]), ['stopped', null, {symbol: 'circle-open', size: 7, color: '#c9971c'}],
    ['infeasible', null, {symbol: 'x-thin', size: 5, line: {width: 1.2, color: '#b3261e'}}]];
  for (const [state, source, marker] of groups) {
    const of = record.trials.map((trial, i) => [trial, i])
      .filter(([trial]) => trial.state === state && (!source || trial.source === source));
    if (of.length) traces.push({type: 'scatter', mode: 'markers', name: source ? plain(source)
      : state === 'stopped' ? 'stopped early' : state, uid: state + '-' + source, marker, x: of.map(([, i]) => i + 1),
      y: of.map(([, i]) => record.hypervolume[i]), text: of.map(([trial]) => words(trial)),
      hovertemplate: '%{text}<extra></extra>'});
  }
  return draw('hypervolume', traces, 330, {hovermode: 'closest',
    xaxis: {title: {text: 'trials', standoff: 8}, automargin: true},
    yaxis: {title: {text: 'hypervolume'}, automargin: true, rangemode: 'tozero'}});
}

function drawFormats() {
  const design = record.designs[$('formats-design').value], map = record.map;
  const grid = fill => map.rows.map(() => map.columns.map(() => fill));
  const bits = grid(null), names = grid(''), sites = grid('');
  for (const [site, name] of Object.entries(design.formats)) {
    const [row, column] = map.cells[site];
    bits[row][column] = design.bits[site];
    names[row][column] = plain(name);
    sites[row][column] = plain(site) + '<br><b>' + plain(name) + '</b>' +
      (design.bits[site] == null ? '' : ', ' + number(design.bits[site]) + ' bits an element');
  }
  // Formats of unknown bits have no colour, but a cell: a second layer that only hovers and writes.
  const longest = Math.max(...Object.values(design.formats).map(name => name.length));
  const room = ($('formats').clientWidth - 210) / map.columns.length;
  const size = Math.min(11, Math.floor(room / longest / .6));
  const hover = {x: map.columns.map((_, i) => i), y: map.rows.map((_, i) => i), xgap: 2, ygap: 1,
    text: names, texttemplate: size >= 7 ? '%{text}' : '', textfont: {size},
    customdata: sites, hovertemplate: '%{customdata}<extra></extra>', hoverongaps: false};
  const blank = bits.map((row, i) => row.map((bit, j) => names[i][j] && bit == null ? 0 : null));
  return draw('formats', [
    {type: 'heatmap', uid: 'bits', z: bits, zmin: 2, zmax: 9, colorscale: TEAL,
      colorbar: {thickness: 12}, ...hover},
    {type: 'heatmap', uid: 'unknown', z: blank, showscale: false, colorscale: [[0, '#eee'], [1, '#eee']], ...hover},
  ], 90 + 24 * map.rows.length, {
    xaxis: {side: 'top', tickvals: hover.x, ticktext: map.titles.map(plain), showgrid: false, zeroline: false,
      title: {text: 'layer', standoff: 4}, automargin: true, tickangle: 0, fixedrange: true,
      ...(map.columns.length > 24 ? {tickvals: hover.x.filter(i => i % 4 === 0 || i === map.columns.length - 1),
        ticktext: map.titles.map(plain).filter((_, i) => i % 4 === 0 || i === map.columns.length - 1)} : {})},
    yaxis: {autorange: 'reversed', tickvals: hover.y, ticktext: map.rows.map(plain), automargin: true,
      tickfont: {size: narrow() ? 8 : 10}, showgrid: false, zeroline: false, fixedrange: true},
    margin: {l: 10, r: 10, t: 50, b: 10},
  }).then(() => {
    const own = Object.entries(design.parameters).filter(([name]) => !(name in design.formats) && !/:/.test(name));
    $('formats-parameters').textContent = own.map(([name, value]) => name + ' ' + value).join(', ');
  });
}

function drawSensitivity() {
  const table = record.sensitivity[+$('sensitivity-metric').value];
  const losses = table.units.map(unit => table.candidates.map(candidate => table.losses[unit]?.[candidate] ?? null));
  const logs = losses.map(row => row.map(loss => loss > 0 ? Math.log10(loss) : null));
  const known = logs.flat().filter(value => value != null);
  const high = Math.ceil(Math.max(...known)), low = Math.max(Math.floor(Math.min(...known)), high - DECADES);
  const decades = Array.from({length: Math.max(high - low, 0) + 1}, (_, i) => low + i);
  const shown = table.candidates.map((_, i) => i), rows = table.units.map((_, i) => i);
  const tall = Math.min(80 + 17 * rows.length, 1500), step = Math.ceil(rows.length * 11 / tall);
  const labelled = rows.filter(i => i % step === 0);  // as many names as there is room for
  const size = Math.min(11, Math.floor(($('sensitivity').clientWidth - 250) / shown.length / 5));
  return draw('sensitivity', [{
    type: 'heatmap', uid: 'losses', x: shown, y: rows, z: logs, colorscale: 'YlOrRd', reversescale: true,
    zmin: low, zmax: high, xgap: 2, ygap: rows.length > 150 ? 0 : 1,
    text: losses.map(row => row.map(loss => loss == null ? '' : loss.toPrecision(2).replace('e-', 'e−'))),
    texttemplate: rows.length <= 80 && size >= 7 ? '%{text}' : '', textfont: {size},
    customdata: losses.map((row, i) => row.map((loss, j) => plain(table.units[i]) + '<br><b>' +
      plain(table.candidates[j]) + '</b>: ' + (loss == null ? 'not measured' : number(loss)))),
    hovertemplate: '%{customdata}<extra></extra>', hoverongaps: true,
    colorbar: {thickness: 12, tickvals: decades,
      ticktext: decades.map(decade => '10<sup>' + decade + '</sup>')},
  }], tall, {
    xaxis: {side: 'top', tickvals: shown, ticktext: table.candidates.map(plain), showgrid: false, zeroline: false,
      automargin: true, fixedrange: true},
    yaxis: {autorange: 'reversed', automargin: true, tickfont: {size: narrow() ? 8 : 10}, showgrid: false,
      zeroline: false, fixedrange: rows.length <= 80, tickvals: labelled,
      ticktext: labelled.map(i => plain(short(table.units[i])))},
    margin: {l: 10, r: 10, t: 40, b: 10},
  });
}

function drawImportance() {
  const shares = Object.entries(record.importance[$('importance-objective').value]).sort((a, b) => b[1] - a[1]);
  const first = shares.slice(0, BARS), rest = shares.slice(BARS);
  if (rest.length) first.push([rest.length + ' others', rest.reduce((sum, [, share]) => sum + share, 0)]);
  return draw('importance', [{
    type: 'bar', uid: 'shares', orientation: 'h', y: first.map((_, i) => i), x: first.map(([, share]) => share),
    marker: {color: first.map((_, i) => i < BARS ? '#1f6f8b' : '#8a8a86')},
    customdata: first.map(([name, share]) => plain(name) + ': ' + (100 * share).toPrecision(3) + ' %'),
    hovertemplate: '%{customdata}<extra></extra>',
  }], 70 + 19 * first.length, {
    xaxis: {tickformat: '.0%', automargin: true, fixedrange: true, rangemode: 'tozero'},
    yaxis: {autorange: 'reversed', tickvals: first.map((_, i) => i),
      ticktext: first.map(([name]) => plain(short(name))), tickfont: {size: narrow() ? 8 : 10}, automargin: true,
      fixedrange: true},
  });
}

const short = name => name.length <= 48 || !narrow() ? name : '…' + name.slice(-40);
const pale = (colour, alpha) => colour + Math.round(255 * alpha).toString(16).padStart(2, '0');

function drawComparison() {
  const which = $('comparison-axis').value, traces = [];
  for (const band of record.comparison[which]) {
    const name = plain(band.name), common = {type: 'scatter', mode: 'lines', x: band.at, legendgroup: name};
    const edge = {...common, showlegend: false, hoverinfo: 'skip', line: {width: 0, shape: 'hv'}};
    traces.push({...edge, uid: 'low-' + band.name, y: band.low},
      {...edge, uid: 'high-' + band.name, y: band.high, fill: 'tonexty', fillcolor: pale(band.colour, .16)},
      {...common, uid: 'median-' + band.name, y: band.median, name, line: {shape: 'hv', color: band.colour, width: 2},
        customdata: band.low.map((low, i) => number(low) + ' … ' + number(band.high[i])),
        hovertemplate: name + ': %{y:.5g} (%{customdata})<extra></extra>'});
  }
  return draw('comparison', traces, 420, {
    xaxis: {title: {text: which, standoff: 8}, automargin: true, rangemode: 'tozero'},
    yaxis: {title: {text: 'hypervolume'}, automargin: true, rangemode: 'tozero'}, hovermode: 'closest',
  });
}

function show(number) {
  const select = $('formats-design');
  if (!select || ![...select.options].some(option => option.value === String(number))) return;
  select.value = number;
  drawFormats();
}

function save(number) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([record.designs[number].file], {type: 'application/json'}));
  link.download = 'assignment-' + number + '.json';
  link.click();
  URL.revokeObjectURL(link.href);
}

const TEAL = record.colorscale;
const pictures = [['front', drawFront, ['front-x', 'front-y', 'front-log']], ['hypervolume', drawHypervolume, []],
  ['formats', drawFormats, ['formats-design']], ['sensitivity', drawSensitivity, ['sensitivity-metric']],
  ['importance', drawImportance, ['importance-objective']], ['comparison', drawComparison, ['comparison-axis']]];
if ($('front')) [$('front-x').value, $('front-y').value] = [1, 0];
Promise.all(pictures.filter(([id]) => $(id)).map(([id, drawn, controls]) => {
  controls.forEach(control => $(control).addEventListener('change', drawn));
  return drawn();
})).then(() => {
  if ($('front')) $('front').on('plotly_click', event => show(event.points[0].customdata));
  document.documentElement.dataset.drawn = 'yes';
});
document.addEventListener('click', event => {
  const button = event.target.closest('button.download'), row = event.target.closest('#front-table tr[data-trial]');
  if (button) save(button.dataset.trial);
  else if (row) show(row.dataset.trial);
});
"""
