// The other pages.
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { ago, ask, clock, count, get, makePasskey, me, post, span, toast, whoAmI, zoneName } from "./api.js";
import { Dialog, Empty, Loading, Page, Search, Table, Tag, Tree, Trouble, Windowed, useData } from "./ui.jsx";
import { zoneTags } from "./zones.jsx";

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// useNight tells whether the system is dark, and has its caller drawn again when that changes.
const night = matchMedia("(prefers-color-scheme: dark)");
function useNight() {
  const [is, set] = useState(night.matches);
  useEffect(() => {
    const f = () => set(night.matches);
    night.addEventListener("change", f);
    return () => night.removeEventListener("change", f);
  }, []);
  return is;
}

// A Chart of one or more lines over the last hour.
function Chart({ title, unit, at, lines, max }) {
  const box = useRef(), plot = useRef();
  const theme = (document.documentElement.dataset.theme || "") + useNight();
  const names = lines.map((l) => l.name).join();
  useEffect(() => {
    const axis = { stroke: css("--dim"), grid: { stroke: css("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif", gap: 4 };
    plot.current = new uPlot({
      width: box.current.clientWidth, height: 150, padding: [8, 8, 0, 0], cursor: { y: false, points: { size: 6 } }, legend: { show: false },
      scales: { x: { time: true }, y: { range: (u, lo, hi) => [0, max || Math.max(1, (hi || 0) * 1.15)] } },
      axes: [{ ...axis, size: 24, space: 70, values: (u, s) => s.map((v) => new Date(v * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: s[s.length - 1] - s[0] < 240 ? "2-digit" : undefined })) },
        { ...axis, size: 46, space: 30, values: (u, s) => s.map((v) => (v >= 1000 ? `${v / 1000}k` : v)) }],
      series: [{}, ...lines.map((l) => ({ label: l.name, stroke: css(l.colour), width: 1.5, points: { show: false }, fill: lines.length === 1 ? css(l.colour) + "22" : undefined }))],
    }, [at, ...lines.map((l) => l.values)], box.current);
    const o = new ResizeObserver(() => box.current && plot.current.setSize({ width: box.current.clientWidth, height: 150 }));
    o.observe(box.current);
    return () => { o.disconnect(); plot.current.destroy(); };
  }, [theme, names]);
  useEffect(() => { plot.current.setData([at, ...lines.map((l) => l.values)]); }, [at]);
  const show = (v) => (v === undefined || v === null || Number.isNaN(v) ? "–" : v >= 100 ? count(Math.round(v)) : v.toFixed(v < 10 && v > 0 ? 1 : 0));
  return (
    <figure class="card chart">
      <figcaption><h2>{title}{lines.length > 1 && <small class="dim"> {unit}</small>}</h2>
        <span class="legend">{lines.map((l) => <span key={l.name}><i class={`dot ${l.colour.slice(2)}`} />{lines.length > 1 && `${l.name} `}<b>{show(l.values[l.values.length - 1])}</b>{lines.length === 1 && ` ${unit}`}</span>)}</span>
      </figcaption>
      <div ref={box} class="plot" role="img" aria-label={`${title}: ${lines.map((l) => `${l.name} ${show(l.values[l.values.length - 1])} ${unit}`).join(", ")} now`} />
    </figure>
  );
}

export function Dashboard() {
  const s = useData("/v1/series", 5);
  const st = useData("/v1/status", 10);
  const f = useData("/v1/filters", 30);
  const d = s.data;
  const col = (name) => d.values[d.names.indexOf(name)];
  const per = (name) => col(name).map((v) => v / d.step_seconds);
  const ratio = (a, b, k = 1) => col(a).map((v, i) => (col(b)[i] ? (k * v) / col(b)[i] : null));
  const tile = (name, value, sub, bad) => <div class={`tile ${bad ? "bad" : ""}`}><span>{name}</span><strong>{value}</strong><small>{sub}</small></div>;
  const sum = (name) => col(name).reduce((a, b) => a + b, 0);
  return (
    <Page title="Dashboard" sub={st.data && `${st.data.role} · up ${span(st.data.uptime_seconds)} · ${st.data.version}`}>
      <Trouble problem={s.problem || st.problem} />
      {st.data && d && (
        <div class="tiles">
          {tile("Queries", count(sum("queries")), "in the last hour")}
          {tile("Cache hits", sum("lookups") ? `${((100 * sum("hit")) / sum("lookups")).toFixed(0)} %` : "–", `of ${count(sum("lookups"))}`)}
          {tile("Blocked", count(sum("blocked")), f.data?.paused_until ? "paused now" : f.data?.lists.length ? `${count(f.data.rules)} ${f.data.rules === 1 ? "rule" : "rules"}` : "no lists", !!f.data?.paused_until)}
          {tile("Failed", count(sum("servfail")), "SERVFAIL", sum("servfail") > 0.05 * sum("replies") && sum("replies") > 100)}
          {tile("Zones", count(st.data.zones), "served here")}
          {tile("Last reload", st.data.last_reload_succeeded ? "good" : "failed", ago(st.data.reloaded), !st.data.last_reload_succeeded)}
        </div>
      )}
      {!d ? <Loading /> : d.at.length === 0 ? <Empty>The first figures come within ten seconds.</Empty> : (
        <div class="charts">
          <Chart title="Queries" unit="/s" at={d.at} lines={[{ name: "queries", colour: "--c1", values: per("queries") }]} />
          <Chart title="Answers" unit="/s" at={d.at} lines={[
            { name: "NOERROR", colour: "--c1", values: per("noerror") }, { name: "NXDOMAIN", colour: "--c2", values: per("nxdomain") },
            { name: "SERVFAIL", colour: "--c3", values: per("servfail") }, { name: "REFUSED", colour: "--c4", values: per("refused") },
          ]} />
          <Chart title="Cache hits" unit="%" max={100} at={d.at} lines={[{ name: "hits", colour: "--c2", values: ratio("hit", "lookups", 100) }]} />
          <Chart title="Time to answer" unit="ms" at={d.at} lines={[{ name: "mean", colour: "--c4", values: ratio("time", "timed", 1000) }]} />
          <Chart title="Blocked" unit="/s" at={d.at} lines={[{ name: "blocked", colour: "--c3", values: per("blocked") }]} />
          <Chart title="Dropped" unit="/s" at={d.at} lines={[{ name: "dropped", colour: "--c3", values: per("dropped") }]} />
        </div>
      )}
    </Page>
  );
}

const rcodeKind = (r) => ({ NOERROR: "good", NXDOMAIN: "plain", SERVFAIL: "bad", REFUSED: "warn" })[r] || "warn";
const maxQueries = 5000;
const queryColumns = [{ name: "Time", cls: "w9" }, { name: "Client", cls: "w14 hide" }, { name: "Name", cls: "grow" }, { name: "Type", cls: "w6" }, { name: "Answer", cls: "w9" }, { name: "From", cls: "w7 hide" }, { name: "ms", cls: "w6 num hide" }];

export function Queries() {
  const [f, setF] = useState({ name: "", client: "", rcode: "", type: "", problems: false });
  const [paused, setPaused] = useState(false);
  const [state, set] = useState({ list: [], version: 0, lost: 0, problem: null, live: false });
  const [pick, setPick] = useState(null);
  const hold = useRef(false);
  hold.current = paused;
  const [used, setUsed] = useState(f);
  useEffect(() => { const t = setTimeout(() => setUsed(f), 400); return () => clearTimeout(t); }, [f]);
  useEffect(() => {
    const p = new URLSearchParams();
    for (const k of ["name", "client", "rcode", "type"]) if (used[k].trim()) p.set(k, used[k].trim());
    if (used.problems) p.set("problems", "1");
    let fresh = [], lost = 0, timer, es, tries = 0, end = false;
    set((s) => ({ ...s, list: [], problem: null, live: false }));
    const flush = () => {
      timer = null;
      if (hold.current) return;
      const add = fresh.reverse();
      fresh = [];
      set((s) => ({ ...s, list: add.concat(s.list).slice(0, maxQueries), version: s.version + 1, lost, live: true, problem: null }));
    };
    const begin = () => {
      es = new EventSource(`/v1/queries?${p}`);
      es.onopen = () => { tries = 0; set((s) => ({ ...s, live: true, problem: null })); };
      es.addEventListener("query", (e) => {
        fresh.push(JSON.parse(e.data));
        if (fresh.length > maxQueries) fresh.splice(0, fresh.length - maxQueries);
        timer ??= setTimeout(flush, 150);
      });
      es.addEventListener("lost", (e) => { lost = JSON.parse(e.data).lost; });
      es.onerror = async () => {
        if (es.readyState !== EventSource.CLOSED || end) return;
        try { await get(`/v1/queries?${p}`); } catch (e) { if (!end) set((s) => ({ ...s, live: false, problem: e })); }
        if (!end && tries++ < 3) timer = setTimeout(begin, 3000);
      };
    };
    begin();
    const catchUp = setInterval(() => { if (!hold.current && fresh.length && !timer) flush(); }, 300);
    return () => { end = true; es.close(); clearTimeout(timer); clearInterval(catchUp); };
  }, [used]);
  const field = (k, label, cls) => <input class={cls} aria-label={label} placeholder={label} value={f[k]} onInput={(e) => setF({ ...f, [k]: e.currentTarget.value })} spellcheck={false} autocomplete="off" />;
  return (
    <Page title="Queries" sub={state.live ? `live${paused ? ", held" : ""}${state.lost ? ` · ${count(state.lost)} left out` : ""}` : "not connected"}
      actions={<button type="button" aria-pressed={paused} onClick={() => setPaused(!paused)}>{paused ? "Go on" : "Hold"}</button>}>
      <div class="fill">
        <div class="tools">
          {field("name", "Name, and all below", "grow")}{field("client", "Client or network")}{field("type", "Type", "w7")}
          <select aria-label="Answer" value={f.rcode} onChange={(e) => setF({ ...f, rcode: e.currentTarget.value })}><option value="">All answers</option>{["NOERROR", "NXDOMAIN", "SERVFAIL", "REFUSED", "FORMERR"].map((r) => <option key={r}>{r}</option>)}</select>
          <label class="check"><input type="checkbox" checked={f.problems} onChange={(e) => setF({ ...f, problems: e.currentTarget.checked })} />Problems alone</label>
        </div>
        <Trouble problem={state.problem} />
        {state.list.length === 0 ? !state.problem && <Empty>Nothing was asked yet.</Empty> : (
          <Windowed label="Queries" total={state.list.length} version={state.version} rows={(i) => state.list[i]} columns={queryColumns} height={28} onPick={setPick}
            row={(q) => (
              <>
                <span role="cell" class="cell w9 dim mono">{clock(q.time)}</span>
                <span role="cell" class="cell w14 hide mono">{q.client.replace(/:\d+$/, "")}</span>
                <span role="cell" class="cell grow mono">{q.name || "(unreadable)"}</span>
                <span role="cell" class="cell w6">{q.type}</span>
                <span role="cell" class="cell w9"><Tag kind={q.path === "policy" ? "warn" : q.rcode ? rcodeKind(q.rcode) : "bad"}>{q.list ? "blocked" : q.rcode || "dropped"}</Tag></span>
                <span role="cell" class="cell w7 hide dim">{q.path}</span>
                <span role="cell" class="cell w6 num hide dim">{q.latency_us !== undefined ? (q.latency_us / 1000).toFixed(1) : ""}</span>
              </>
            )} />
        )}
      </div>
      {pick && <Why query={pick} onClose={() => setPick(null)} />}
    </Page>
  );
}

function Why({ query, onClose }) {
  const why = useData(query.why ? `/v1/why/${encodeURIComponent(query.why)}` : null);
  const { why: id, ...rest } = query;
  return (
    <Dialog title={`Why ${query.name} ${query.type}`} onClose={onClose} wide>
      <p>{query.fate === "replied" ? <>Answered <Tag kind={rcodeKind(query.rcode)}>{query.rcode}</Tag> {{ cache: "from the cache", zone: "from a zone of ours", miss: "after asking other servers", stale: "with what had expired, since nothing better came in time", policy: `by line ${query.line} of list ${query.list}`, server: "by the server itself", names: "from names of machines", builtin: "from what is built in" }[query.path] || query.path}.</> : <>{query.fate}.</>}</p>
      {id && (why.problem ? <Trouble problem={why.problem} /> : why.data ? why.data.slice(0, 1).map((r) => <Told key={r.id} report={r} />) : <Loading />)}
      <section class="card"><h2>The query</h2><Tree value={rest} /></section>
    </Dialog>
  );
}

// Told tells why an answer was as it was: the cause, the steps, and what can be done.
function Told({ report: r }) {
  return (
    <>
      <section class="card"><h2>Cause</h2><p>{r.cause}</p>{r.partial && <p class="dim">Somebody had to be answered before the work was done.</p>}</section>
      {r.steps.length > 0 && (
        <section class="card"><h2>Steps</h2>
          <ol class="steps">{r.steps.map((s, i) => <li key={i}><span class="dim mono">{Math.round(s.at_us / 1000)} ms</span> {s.text}{s.rtt_us ? <span class="dim"> ({(s.rtt_us / 1000).toFixed(1)} ms)</span> : null}</li>)}</ol>
          {r.left > 0 && <p class="dim">{r.left} steps in the middle are left out.</p>}
        </section>
      )}
      {r.advice.length > 0 && <section class="card"><h2>What to do</h2><ul>{r.advice.map((a, i) => <li key={i}>{a.text}{a.command && <pre>{a.command}</pre>}</li>)}</ul></section>}
    </>
  );
}

export function Whys() {
  const [text, setText] = useState("");
  const [used, setUsed] = useState("");
  const [pick, setPick] = useState(null);
  useEffect(() => { const t = setTimeout(() => setUsed(text.trim()), 400); return () => clearTimeout(t); }, [text]);
  const w = useData(`/v1/why${used ? "/" + encodeURIComponent(used) : ""}?limit=100`, used ? 0 : 10);
  return (
    <Page title="Why" sub="Answers that failed, or were refused, limited, blocked or out of date">
      <div class="tools"><input class="grow" aria-label="Name or id" placeholder="Name, or the id that a client was told (why=…)" value={text} onInput={(e) => setText(e.currentTarget.value.replace(/^why=/, ""))} spellcheck={false} autocomplete="off" /></div>
      <Trouble problem={w.problem} />
      {!w.data ? !w.problem && <Loading /> : w.data.length === 0 ? <Empty>No problem is remembered{used ? " of that" : ""}.</Empty> : (
        <Table label="Answers" keyOf={(r) => r.id || `${r.time} ${r.name} ${r.type}`} rows={w.data} columns={[
          { name: "Time", cls: "mono dim short", cell: (r) => clock(r.time) },
          { name: "Name", cls: "mono", cell: (r) => <button type="button" class="link" onClick={() => setPick(r)}>{r.name || "(unreadable)"}</button> },
          { name: "Type", cls: "short", cell: (r) => r.type }, { name: "Answer", cls: "short", cell: (r) => <Tag kind={r.rcode ? rcodeKind(r.rcode) : "bad"}>{r.rcode || "no reply"}</Tag> },
          { name: "Cause", cell: (r) => r.cause },
        ]} />
      )}
      {pick && <Dialog title={`Why ${pick.name} ${pick.type}`} onClose={() => setPick(null)} wide><Told report={pick} /></Dialog>}
    </Page>
  );
}

export function Top() {
  const [window, setWindow] = useState("all");
  const t = useData(`/v1/top?window=${window}&limit=15`, window === "all" ? 10 : 3);
  const kinds = [["clients", "Clients"], ["names", "Names"], ["blocked", "Blocked names"], ["upstreams", "Servers asked"], ["rcodes", "Answers"], ["types", "Types"], ["paths", "Answered from"], ["lists", "Lists"], ["transports", "Transports"], ["views", "Views"]];
  return (
    <Page title="Top" sub={t.data && `${count(t.data.queries)} queries in ${span(t.data.seconds)}`}
      actions={<div class="switch" role="group" aria-label="Time">{[["recent", "Now"], ["all", "All"]].map(([w, n]) => <button key={w} type="button" aria-pressed={w === window} onClick={() => setWindow(w)}>{n}</button>)}</div>}>
      <Trouble problem={t.problem} />
      {t.data && (
        <div class="tops">
          {kinds.filter(([k]) => t.data[k]?.length).map(([k, name]) => (
            <section key={k} class="card"><h2>{name}</h2>
              <ol class="bars">{t.data[k].map((r) => (
                <li key={r.key}><span class="mono grow">{r.key}</span>{r.failed > 0 && <small class="dim">{count(r.failed)} failed</small>}<b>{count(r.count)}</b>
                  <meter min={0} max={t.data[k][0].count} value={r.count} aria-label={`${r.key}: ${r.count}`} /></li>
              ))}</ol>
            </section>
          ))}
          {kinds.every(([k]) => !t.data[k]?.length) && <Empty>Counting has begun: look again in a few seconds.</Empty>}
        </div>
      )}
    </Page>
  );
}

export function Filters() {
  const f = useData("/v1/filters", 15);
  const [test, setTest] = useState({ name: "", client: "" });
  const [result, setResult] = useState(null);
  const act = async (path, body, said) => {
    try {
      await post(path, body);
      toast(said);
    } catch (e) {
      toast(e.message, "bad");
    }
    f.again();
  };
  const tryIt = async (e) => {
    e.preventDefault();
    try {
      setResult(await get(`/v1/filters/test?${new URLSearchParams(test)}`));
    } catch (x) {
      setResult({ problem: x });
    }
  };
  const paused = f.data?.paused_until;
  return (
    <Page title="Filters" sub={f.data && `${count(f.data.rules)} ${f.data.rules === 1 ? "rule" : "rules"}`}
      actions={f.data?.lists.length > 0 && (paused ? <button type="button" class="main" onClick={() => act("/v1/filters/pause", { minutes: 0 }, "Answers are filtered again.")}>Filter again</button>
        : <>{[5, 30, 120].map((m) => <button key={m} type="button" onClick={() => act("/v1/filters/pause", { minutes: m }, `Nothing is filtered for ${m} minutes.`)}>Pause {m} min</button>)}<button type="button" onClick={() => act("/v1/filters/update", {}, "The lists were read again.")}>Update lists</button></>)}>
      <Trouble problem={f.problem} />
      {f.data?.lists.length === 0 && <Empty>Nothing is filtered: policy.lists in the configuration names lists.</Empty>}
      {paused && <p class="note warn" role="status">Paused until {clock(paused)}: all answers pass.</p>}
      {f.data?.lists.length > 0 && (
        <>
          <Table label="Lists" keyOf={(l) => l.name} rows={f.data.lists} columns={[
            { name: "List", cell: (l) => <b>{l.name}</b> }, { name: "Rules", cls: "num", cell: (l) => count(l.stats.rules) }, { name: "Blocked", cls: "num", cell: (l) => count(l.blocked) },
            { name: "Loaded", cell: (l) => ago(l.loaded) }, { name: "Next", cls: "hide", cell: (l) => (l.due ? ago(l.due) : "") }, { name: "From", cls: "hide mono", cell: (l) => l.from },
            { name: "State", cell: (l) => (l.problem ? <Tag kind="bad">{l.problem}</Tag> : <Tag kind="good">good</Tag>) },
          ]} />
          <section class="card"><h2>What becomes of a question</h2>
            <form class="tools" onSubmit={tryIt}>
              <input class="grow" required aria-label="Name" placeholder="ads.example.com" value={test.name} onInput={(e) => setTest({ ...test, name: e.currentTarget.value })} spellcheck={false} />
              <input aria-label="Client" placeholder="Client (127.0.0.1)" value={test.client} onInput={(e) => setTest({ ...test, client: e.currentTarget.value })} />
              <button type="submit">Try</button>
            </form>
            {result && (result.problem ? <Trouble problem={result.problem} /> : <p aria-live="polite"><Tag kind={result.action === "pass" || result.action === "allow" ? "good" : "bad"}>{result.action}</Tag> {result.list && <>by <b>{result.list}</b>, line {result.line}: <span class="mono">{result.rule}</span></>}{result.paused && " (paused now)"}</p>)}
          </section>
        </>
      )}
    </Page>
  );
}

export function Checks({ id }) {
  const list = useData("/v1/checks", 3);
  id ||= list.data?.[0] && String(list.data[0].id);
  const one = useData(id ? `/v1/checks/${id}` : null, list.data?.some((c) => !c.done) ? 3 : 0);
  const [target, setTarget] = useState("self");
  const begin = async (e) => {
    e.preventDefault();
    try {
      const c = await post("/v1/checks", { target });
      location.hash = `#/checks/${c.id}`;
      list.again();
    } catch (x) {
      toast(x.message, "bad");
    }
  };
  const going = list.data?.some((c) => !c.done);
  return (
    <Page title="Checks" sub="How the server, or a zone of yours, looks to a stranger"
      actions={<form class="tools" onSubmit={begin}><input aria-label="Target" value={target} onInput={(e) => setTarget(e.currentTarget.value)} placeholder="self, or a zone" spellcheck={false} /><button type="submit" class="main" disabled={going}>{going ? "Running…" : "Check"}</button></form>}>
      <Trouble problem={list.problem} />
      {list.data?.length === 0 && <Empty>Nothing was checked since the server started.</Empty>}
      {list.data?.length > 0 && <nav class="tabs" aria-label="Checks">{list.data.slice(0, 8).map((c) => <a key={c.id} href={`#/checks/${c.id}`} aria-current={String(c.id) === id ? "page" : undefined}>{c.target} <small class="dim">{c.done ? ago(c.started) : `${Math.round(c.seconds)} s…`}</small></a>)}</nav>}
      {one.data && <Report check={one.data} />}
    </Page>
  );
}

const states = { fail: "bad", warn: "warn", pass: "good", unknown: "plain" };
function Report({ check }) {
  if (!check.done) return <p class="note" aria-busy="true">The check runs: {Math.round(check.seconds)} s so far. It takes a minute or two.</p>;
  if (check.problem) return <p class="note error" role="alert">{check.problem}</p>;
  const targets = check.report?.targets || check.report?.reports || (Array.isArray(check.report) ? check.report : []);
  return targets.map((t) => {
    const by = (s) => t.checks.filter((c) => c.state === s);
    return (
      <section key={t.target} class="card report">
        <h2>{t.target} {t.score !== undefined && <Tag kind={t.score > 80 ? "good" : t.score > 50 ? "warn" : "bad"}>{t.score} of 100</Tag>}</h2>
        {t.problem && <p class="note error">{t.problem}</p>}
        {["fail", "warn"].map((s) => by(s).map((c, i) => (
          <details key={`${c.id}${i}`} class="found"><summary><Tag kind={states[s]}>{c.severity}</Tag> <span class="grow">{c.title}</span> <small class="mono dim">{c.id}</small></summary>
            {c.detail && <p>{c.detail}</p>}{c.file && <p class="mono">{c.file}{c.line ? `:${c.line}` : ""}</p>}{c.advice && <p class="wrap"><b>What mends it:</b> {c.advice}</p>}
            {c.evidence?.command && <p class="mono wrap">{c.evidence.command}</p>}
          </details>
        )))}
        {["unknown", "pass"].map((s) => by(s).length > 0 && <details key={s}><summary><Tag kind={states[s]}>{s}</Tag> {by(s).length} checks</summary><ul class="ids">{by(s).map((c, i) => <li key={i}><span class="mono">{c.id}</span> {c.title}</li>)}</ul></details>)}
      </section>
    );
  });
}

export function Peers() {
  const z = useData("/v1/zones?limit=10000", 15);
  const rows = z.data?.zones.filter((x) => x.role === "secondary" || x.secondaries?.length) || [];
  const acts = useData("/v1/audit?limit=500", 15);
  const moves = acts.data?.filter((a) => a.what === "transfer" || a.what === "notification").slice(0, 100);
  return (
    <Page title="Peers" sub="Who zones come from, and who follows them">
      <Trouble problem={z.problem} />
      {z.data && <Table label="Zones with peers" keyOf={(x) => x.id} rows={rows} empty="No zone has primaries or secondaries." columns={[
        { name: "Zone", cell: (x) => <a href={`#/zones/${encodeURIComponent(x.id)}/about`}>{zoneName(x)}</a> }, { name: "Role", cell: (x) => x.role }, { name: "Serial", cls: "num", cell: (x) => x.serial },
        { name: "Peers", cls: "mono", cell: (x) => (x.primaries || x.secondaries || []).join(", ") }, { name: "Checked", cell: (x) => (x.checked ? ago(x.checked) : "") },
        { name: "Next", cls: "hide", cell: (x) => (x.next_refresh ? ago(x.next_refresh) : "") }, { name: "State", cell: (x) => x.last_error ? <Tag kind="bad">{x.last_error}</Tag> : zoneTags(x) },
      ]} />}
      {moves && <section class="card"><h2>Transfers and notifications</h2><Table label="Transfers" rows={moves} empty="None since the server started." columns={[
        { name: "Time", cls: "mono", cell: (a) => clock(a.at) }, { name: "What", cell: (a) => `${a.what} ${a.text || ""}` }, { name: "Zone", cell: (a) => a.zone }, { name: "Peer", cls: "mono", cell: (a) => a.peer },
        { name: "Outcome", cell: (a) => <Tag kind={a.outcome === "accepted" ? "good" : "bad"}>{a.outcome}</Tag> }, { name: "Reason", cell: (a) => a.reason || "" },
      ]} /></section>}
    </Page>
  );
}

export function Keys() {
  const z = useData("/v1/zones?limit=10000", 30);
  const k = useData("/v1/keys");
  const rows = z.data?.zones.filter((x) => x.signing) || [];
  return (
    <Page title="Keys" sub="Zones that are signed here, and keys of transfers and updates">
      <Trouble problem={z.problem || k.problem} />
      {z.data && <Table label="Signed zones" keyOf={(x) => x.id} rows={rows} empty="No zone is signed here." columns={[
        { name: "Zone", cell: (x) => <a href={`#/zones/${encodeURIComponent(x.id)}/keys`}>{zoneName(x)}</a> }, { name: "Keys", cls: "mono", cell: (x) => x.signing.keys?.join(", ") },
        { name: "First signature expires", cell: (x) => ago(x.signing.first_signature_expires) }, { name: "Signed again", cls: "hide", cell: (x) => ago(x.signing.next_signing) }, { name: "State", cell: (x) => x.signing.last_error ? <Tag kind="bad">{x.signing.last_error}</Tag> : <Tag kind="good">good</Tag> },
      ]} />}
      {k.data && <section class="card"><h2>Keys of transfers and updates (TSIG)</h2><Table label="TSIG keys" keyOf={(x) => x.name} rows={k.data} empty="There is none." columns={[
        { name: "Name", cls: "mono", cell: (x) => x.name }, { name: "Algorithm", cell: (x) => x.algorithm }, { name: "Where", cls: "mono", cell: (x) => x.configured_at || "granted while it runs" },
      ]} /></section>}
    </Page>
  );
}

export function Audit() {
  const a = useData("/v1/audit?limit=1000", 10);
  const [q, setQ] = useState("");
  const rows = a.data?.filter((x) => !q || JSON.stringify(Object.values(x)).toLowerCase().includes(q.toLowerCase()));
  return (
    <Page title="Audit" sub="Who did what, and was refused: the last 1,000 lines. audit.file has all." actions={<Search value={q} onInput={setQ} />}>
      <Trouble problem={a.problem} />
      {rows && <Table label="Audit" rows={rows} empty="Nothing was done yet." columns={[
        { name: "Time", cls: "mono", cell: (x) => clock(x.at) }, { name: "Who", cell: (x) => [x.by, x.key && `key ${x.key}`, x.certificate && `certificate ${x.certificate}`, x.peer].filter(Boolean).join(", ") }, { name: "What", cell: (x) => [x.what, x.text].filter(Boolean).join(": ") },
        { name: "Zone", cell: (x) => x.zone || "" }, { name: "Serial", cls: "num hide", cell: (x) => (x.serial ? (x.serial_before ? `${x.serial_before} → ${x.serial}` : x.serial) : "") },
        { name: "Outcome", cell: (x) => <Tag kind={x.outcome === "accepted" ? "good" : "bad"}>{x.outcome}</Tag> }, { name: "Reason", cell: (x) => x.reason || "" },
      ]} />}
    </Page>
  );
}

export function Settings() {
  const s = useData("/v1/settings");
  const [q, setQ] = useState("");
  const [own, setOwn] = useState(false);
  const isDefault = (x) => x.origin === "default";
  const rows = s.data?.filter((x) => (!q || `${x.key} ${x.value}`.toLowerCase().includes(q.toLowerCase())) && (!own || !isDefault(x)));
  return (
    <Page title="Settings" sub="In effect now. They are changed in the file, which stays the truth; port53 reload reads it again."
      actions={<><label class="check"><input type="checkbox" checked={own} onChange={(e) => setOwn(e.currentTarget.checked)} />Written alone</label><Search value={q} onInput={setQ} /></>}>
      <Trouble problem={s.problem} />
      {rows && <Table label="Settings" keyOf={(x) => x.key} rows={rows.slice(0, 300)} empty="No setting fits." columns={[
        { name: "Key", cls: "mono", cell: (x) => x.key }, { name: "Value", cls: "mono wrap", cell: (x) => x.value || <span class="dim">–</span> }, { name: "From", cls: "mono", cell: (x) => (isDefault(x) ? <span class="dim">default</span> : x.origin) },
      ]} />}
      {rows?.length > 300 && <p class="note">{count(rows.length - 300)} more fit: search for a part of a key, or of a value.</p>}
    </Page>
  );
}

export function Account({ theme, setTheme }) {
  const who = me.value;
  const [name, setName] = useState("");
  const add = async (e) => {
    e.preventDefault();
    try {
      await makePasskey(name || "passkey");
      setName("");
      toast("The passkey is made: sign in with it from now on.");
    } catch (x) {
      toast(x.name === "NotAllowedError" ? "The browser made no passkey." : x.message, "bad");
    }
  };
  const remove = async (p) => {
    try {
      await ask("DELETE", `/auth/passkeys/${p.id}`);
      await whoAmI();
      toast("The passkey is removed.");
    } catch (x) {
      toast(x.message, "bad");
    }
  };
  const out = async (all) => { await post(`/auth/logout${all ? "?all=1" : ""}`); await whoAmI(); };
  const first = who.how === "a link" && !who.account && !who.users;
  return (
    <Page title="Account" sub={`${who.name}, signed in by ${who.how}, until ${clock(who.until)}`} actions={<><button type="button" onClick={() => out(false)}>Sign out</button>{who.account && <button type="button" onClick={() => out(true)}>Sign out everywhere</button>}</>}>
      {(who.account || first) && (
        <section class="card"><h2>Passkeys</h2>
          {first && <p>Make a passkey, and you need no link to sign in from now on: it makes you the user <b>admin</b>.</p>}
          {!who.can_keys && <p class="note">Passkeys work for names alone: open <a href={who.origin}>{who.origin}</a>.</p>}
          {who.passkeys.length > 0 && <Table label="Passkeys" keyOf={(p) => p.id} rows={who.passkeys} columns={[{ name: "Name", cell: (p) => p.name }, { name: "For", cls: "mono", cell: (p) => p.host }, { name: "Made", cell: (p) => ago(p.made) }, { name: "Used", cell: (p) => ago(p.used) }, { name: "", cell: (p) => <button type="button" class="danger" onClick={() => remove(p)}>Remove</button> }]} />}
          {who.can_keys && <form class="tools" onSubmit={add}><input aria-label="Name of the passkey" placeholder="Name, such as laptop" value={name} onInput={(e) => setName(e.currentTarget.value)} maxLength={64} /><button type="submit" class="main">Make a passkey</button></form>}
        </section>
      )}
      <section class="card"><h2>Looks</h2>
        <div class="switch" role="group" aria-label="Colours">{[["", "As the system"], ["light", "Light"], ["dark", "Dark"]].map(([v, n]) => <button key={v} type="button" aria-pressed={theme === v} onClick={() => setTheme(v)}>{n}</button>)}</div>
      </section>
    </Page>
  );
}
