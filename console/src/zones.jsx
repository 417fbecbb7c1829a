// Zones: the list, the records with staged changes, history, keys.
import { useEffect, useState } from "preact/hooks";
import { ago, ask, clock, count, get, grants, octets, post, toast, zoneName } from "./api.js";
import { Dialog, Empty, Loading, Page, Search, Table, Tag, Trouble, Windowed, useData, useLater, usePages } from "./ui.jsx";

const pattern = (text) => (/[*?]/.test(text) ? text : `*${text}*`);
const enc = encodeURIComponent;

export const zoneTags = (z) => (
  <>
    {z.failed && <Tag kind="bad">broken</Tag>}
    {!z.serving && !z.failed && <Tag kind="bad">not served</Tag>}
    {z.expired && <Tag kind="bad">expired</Tag>}
    {z.frozen && <Tag kind="warn">frozen</Tag>}
    {z.signing ? <Tag kind={z.signing.last_error ? "bad" : "good"}>signed here</Tag> : z.signed && <Tag kind="good">signed</Tag>}
    {z.last_error && <Tag kind="warn">trouble</Tag>}
  </>
);

const zoneColumns = [{ name: "Zone", cls: "grow" }, { name: "Role", cls: "w8 hide" }, { name: "Serial", cls: "w10 num" }, { name: "Records", cls: "w8 num hide" }, { name: "State", cls: "w12" }];

export function Zones() {
  const [q, setQ] = useState("");
  const late = useLater(q);
  const list = usePages(`/v1/zones${late ? `?q=${enc(pattern(late))}` : ""}`, (d) => d.zones);
  return (
    <Page title="Zones" sub={list.total === null ? "" : `${count(list.total)} ${late ? "fit" : "are served"}`} actions={<Search value={q} onInput={setQ} label="Find a zone" />}>
      <Trouble problem={list.problem} />
      {list.total === 0 && !list.problem ? <Empty>{late ? "No zone fits." : "No zone is served here: port53 zone add NAME FILE adds one."}</Empty> : (
        <Windowed label="Zones" total={list.total ?? 0} version={list.version} rows={list.rows} need={list.need} columns={zoneColumns}
          onPick={(z) => { location.hash = `#/zones/${enc(z.id)}`; }}
          row={(z) => (
            <>
              <span role="cell" class="cell grow"><a href={`#/zones/${enc(z.id)}`}>{zoneName(z)}</a></span>
              <span role="cell" class="cell w8 hide dim">{z.role}</span>
              <span role="cell" class="cell w10 num">{z.serial || "–"}</span>
              <span role="cell" class="cell w8 num hide">{count(z.records)}</span>
              <span role="cell" class="cell w12">{zoneTags(z)}</span>
            </>
          )} />
      )}
    </Page>
  );
}

const staged = new Map(); // changes that were not applied yet, by the zone's id, over visits of other pages

export function Zone({ id, tab = "records" }) {
  const z = useData(`/v1/zones/${enc(id)}`, 30);
  const tabs = [["records", "Records"], ["history", "History"], ["keys", "Keys"], ["about", "About"]];
  return (
    <Page title={z.data ? zoneName(z.data) : id.replace(/\.$/, "")}
      sub={z.data && <>serial {z.data.serial} · {count(z.data.records)} records · {z.data.role} {zoneTags(z.data)}</>}
      actions={<a class="button" href="#/zones">All zones</a>}>
      <Trouble problem={z.problem} />
      <nav class="tabs" aria-label="Of the zone">{tabs.map(([t, name]) => <a key={t} href={`#/zones/${enc(id)}/${t}`} aria-current={t === tab ? "page" : undefined}>{name}</a>)}</nav>
      {!z.data ? !z.problem && <Loading /> : tab === "records" ? <Records key={id} id={id} zone={z.data} changed={z.again} />
        : tab === "history" ? <History id={id} changed={z.again} /> : tab === "keys" ? <Keys id={id} zone={z.data} /> : <About zone={z.data} id={id} />}
    </Page>
  );
}

const types = ["A", "AAAA", "CNAME", "MX", "TXT", "NS", "SRV", "CAA", "HTTPS", "SVCB", "TLSA", "SSHFP", "PTR", "DS", "NAPTR", "LOC", "SOA"];
const recordColumns = [{ name: "Name", cls: "w26" }, { name: "Type", cls: "w8" }, { name: "TTL", cls: "w6 num hide" }, { name: "Data", cls: "grow" }];
const keyOf = (s) => `${s.name.toLowerCase()} ${s.type}`;

function short(name, zone) {
  if (name === zone) return "@";
  const end = zone === "." ? "." : "." + zone;
  return name.toLowerCase().endsWith(end.toLowerCase()) ? name.slice(0, -end.length) : name;
}
function full(name, zone) {
  name = name.trim();
  if (name === "@" || name === "") return zone;
  return name.endsWith(".") ? name : zone === "." ? name + "." : `${name}.${zone}`;
}

function Records({ id, zone, changed }) {
  const [q, setQ] = useState("");
  const [type, setType] = useState("");
  const late = useLater(q);
  const params = new URLSearchParams({ sort: "name" });
  if (late) params.set("q", pattern(late));
  if (type) params.set("type", type);
  const list = usePages(`/v1/zones/${enc(id)}/records?${params}`, (d) => d.sets);
  const [edits, setEdits] = useState(() => staged.get(id) || new Map());
  const [edit, setEdit] = useState(null);
  const [plan, setPlan] = useState(null);
  const keep = (m) => { staged.set(id, m); setEdits(m); };
  const stage = (set, change) => {
    const m = new Map(edits);
    m.set(keyOf(set), change);
    keep(m);
    setEdit(null);
  };
  const changes = [...edits.values()];
  const review = async () => {
    try {
      setPlan(await post(`/v1/zones/${enc(id)}/plan`, { changes }));
    } catch (e) {
      setPlan({ problem: e });
    }
  };
  const after = () => { list.again(); changed(); };
  const undo = async (from) => {
    try {
      const r = await post(`/v1/zones/${enc(id)}/undo`, { serial: from });
      toast(`Undone: the zone has its former content, as serial ${r.to}.`);
      after();
    } catch (e) {
      toast(e.message, "bad");
    }
  };
  const apply = async () => {
    try {
      const r = await ask("PATCH", `/v1/zones/${enc(id)}/records`, { changes }, { "If-Match": `"${plan.serial}"` });
      keep(new Map());
      setPlan(null);
      toast(`Applied: serial ${r.to}.`, "ok", { name: "Undo", do: () => undo(r.from) });
      after();
    } catch (e) {
      setPlan({ ...plan, problem: e.status === 412 ? new Error("Somebody else has changed the zone meanwhile. Look at the plan again.") : e, stale: e.status === 412 });
    }
  };
  return (
    <div class="fill">
      <div class="tools">
        <Search value={q} onInput={setQ} label="Find names and data" />
        <select aria-label="Type" value={type} onChange={(e) => setType(e.currentTarget.value)}><option value="">All types</option>{types.map((t) => <option key={t}>{t}</option>)}</select>
        <span class="dim grow" data-count={list.total ?? ""}>{list.total === null ? "" : `${count(list.total)} sets`}</span>
        {zone.editable && <button type="button" class="main" onClick={() => setEdit({ fresh: true, name: "", type: "A", ttl: 3600, records: [], comments: [] })}>Add records</button>}
      </div>
      {!zone.editable && <p class="note">{zone.role === "secondary" ? "The zone comes from its primaries, and is changed there." : zone.frozen ? "The zone is frozen: port53 zone thaw lets it be changed again." : "The zone cannot be changed here."}</p>}
      <Trouble problem={list.problem} />
      {list.total === 0 ? <Empty>No records fit.</Empty> : (
        <Windowed label="Records" total={list.total ?? 0} version={list.version} rows={list.rows} need={list.need} columns={recordColumns}
          onPick={(s) => setEdit(s)}
          row={(s) => {
            const e = edits.get(keyOf(s));
            const off = s.records.filter((r) => r.disabled).length;
            return (
              <>
                <span role="cell" class={`cell w26 mono ${e ? (e.change === "delete" ? "gone" : "changed") : ""}`}>{short(s.name, zone.zone)}</span>
                <span role="cell" class="cell w8"><Tag>{s.type}</Tag></span>
                <span role="cell" class="cell w6 num hide dim">{s.ttl}</span>
                <span role="cell" class={`cell grow mono ${e?.change === "delete" ? "gone" : ""}`}>
                  {e && <Tag kind="warn">staged</Tag>}{off > 0 && <Tag kind="warn">{off} off</Tag>}
                  {s.records.map((r) => r.content).join("  ·  ")}{s.comments.length > 0 && <span class="dim"> — {s.comments[0].content}</span>}
                </span>
              </>
            );
          }} />
      )}
      {changes.length > 0 && (
        <div class="bar" role="region" aria-label="Staged changes">
          <strong>{changes.length} {changes.length === 1 ? "change" : "changes"} staged</strong>
          <span class="dim grow hide">{changes.map((c) => `${short(c.name, zone.zone)} ${c.type}`).slice(0, 4).join(", ")}{changes.length > 4 && " …"}</span>
          <button type="button" class="quiet" onClick={() => keep(new Map())}>Discard</button>
          <button type="button" class="main" onClick={review}>Review the plan</button>
        </div>
      )}
      {edit && <Editor set={edit} had={edits.get(keyOf(edit))} zone={zone} onClose={() => setEdit(null)} onStage={stage} />}
      {plan && <Plan plan={plan} zone={zone} onClose={() => setPlan(null)} onApply={apply} onAgain={review} />}
    </div>
  );
}

const hints = {
  A: "192.0.2.1", AAAA: "2001:db8::1", CNAME: "target.example.com.", MX: "10 mail.example.com.", TXT: '"v=spf1 -all"', NS: "ns1.example.com.",
  SRV: "10 5 5060 sip.example.com.", CAA: '0 issue "ca.example.net"', HTTPS: "1 . alpn=h2,h3", TLSA: "3 1 1 …", PTR: "host.example.com.",
};

function Editor({ set, had, zone, onClose, onStage }) {
  const now = had && had.change === "replace" ? { ...set, ttl: had.ttl, records: had.records, comments: had.comments } : set;
  const [name, setName] = useState(set.fresh ? "" : short(set.name, zone.zone));
  const [type, setType] = useState(set.type);
  const [ttl, setTTL] = useState(String(now.ttl));
  const [lines, setLines] = useState(now.records.filter((r) => !r.disabled).map((r) => r.content).join("\n"));
  const [off, setOff] = useState(now.records.filter((r) => r.disabled).map((r) => r.content).join("\n"));
  const [comment, setComment] = useState(now.comments?.[0]?.content || "");
  const split = (t) => t.split("\n").map((x) => x.trim()).filter(Boolean);
  const [problem, setProblem] = useState(null);
  const target = { name: full(name, zone.zone), type };
  const save = (e) => {
    e.preventDefault();
    const records = [...split(lines).map((content) => ({ content })), ...split(off).map((content) => ({ content, disabled: true }))];
    if (records.length === 0) return setProblem(new Error("Write at least one record, or delete the set."));
    if (!/^\d+$/.test(ttl.trim())) return setProblem(new Error("A TTL is a number of seconds."));
    onStage(target, {
      change: set.fresh ? "extend" : "replace", name: target.name, type, ttl: Number(ttl), records,
      ...(comment || now.comments?.length ? { comments: comment ? [{ content: comment, account: "" }] : [] } : {}),
    });
  };
  return (
    <Dialog title={set.fresh ? "Add records" : `${short(set.name, zone.zone)} ${set.type}`} onClose={onClose}>
      <form onSubmit={save}>
        <div class="fields">
          <label class="grow">Name<input value={name} disabled={!set.fresh} onInput={(e) => setName(e.currentTarget.value)} placeholder="www, or @ for the zone itself" autocomplete="off" spellcheck={false} autofocus /></label>
          <label>Type{set.fresh ? <select value={type} onChange={(e) => setType(e.currentTarget.value)}>{types.filter((t) => t !== "SOA").map((t) => <option key={t}>{t}</option>)}</select> : <input value={type} disabled />}</label>
          <label>TTL<input class="num" inputMode="numeric" value={ttl} onInput={(e) => setTTL(e.currentTarget.value)} /></label>
        </div>
        <label>Data, one record a line<textarea class="mono" rows={Math.min(8, Math.max(3, lines.split("\n").length + 1))} value={lines} onInput={(e) => setLines(e.currentTarget.value)} placeholder={hints[type]} spellcheck={false} /></label>
        <details open={off !== ""}><summary>Switched off, and a comment</summary>
          <label>Records that are kept and not served<textarea class="mono" rows={2} value={off} onInput={(e) => setOff(e.currentTarget.value)} spellcheck={false} /></label>
          <label>Comment<input value={comment} onInput={(e) => setComment(e.currentTarget.value)} /></label>
        </details>
        <Trouble problem={problem} />
        <footer>
          {!set.fresh && zone.editable && set.type !== "SOA" && <button type="button" class="danger" onClick={() => onStage(set, { change: "delete", name: set.name, type: set.type })}>Delete the set</button>}
          <span class="grow" />
          <button type="button" class="quiet" onClick={onClose}>Cancel</button>
          {zone.editable && <button type="submit" class="main">Stage</button>}
        </footer>
      </form>
    </Dialog>
  );
}

export const Diff = ({ removed, added }) => (
  <div class="diff" role="region" aria-label="Records that go and come" tabIndex={0}>
    {removed.map((l, i) => <div key={`r${i}`} class="minus"><span class="off">removed </span>− {l}</div>)}
    {added.map((l, i) => <div key={`a${i}`} class="plus"><span class="off">added </span>+ {l}</div>)}
    {removed.length + added.length === 0 && <div class="dim">No record changes.</div>}
  </div>
);

function Plan({ plan, onClose, onApply, onAgain }) {
  return (
    <Dialog title="The plan" onClose={onClose} wide>
      {plan.follows && (
        <>
          <Diff removed={plan.removed} added={plan.added} />
          {plan.follows.length > 0 && (
            <ul class="follows" aria-label="What follows">
              {plan.follows.map((f, i) => <li key={i} class={f.level}><Tag kind={{ error: "bad", warning: "warn" }[f.level] || "plain"}>{f.kind}</Tag> <span class="mono">{f.name}</span> {f.text}</li>)}
            </ul>
          )}
          <p class="dim">Serial {plan.serial} → {plan.next_serial}</p>
        </>
      )}
      <Trouble problem={plan.problem} />
      <footer>
        <span class="grow" />
        <button type="button" class="quiet" onClick={onClose}>Back</button>
        {plan.stale ? <button type="button" class="main" onClick={onAgain}>Plan again</button> : <button type="button" class="main" disabled={!plan.accepted} onClick={onApply}>Apply</button>}
      </footer>
    </Dialog>
  );
}

function History({ id, changed }) {
  const h = useData(`/v1/zones/${enc(id)}/history?limit=200`);
  const undo = async (c) => {
    try {
      const r = await post(`/v1/zones/${enc(id)}/undo`, { serial: c.from });
      toast(`The zone has the content of serial ${c.from}, as serial ${r.to}.`);
      h.again();
      changed();
    } catch (e) {
      toast(e.message, "bad");
    }
  };
  if (h.problem) return <Trouble problem={h.problem} />;
  if (!h.data) return <Loading />;
  if (h.data.changes.length === 0) return <Empty>No change is known.</Empty>;
  return (
    <ol class="history">
      {h.data.changes.map((c) => (
        <li key={c.to}>
          <details>
            <summary>
              <span class="mono">{c.from} → {c.to}</span> <span class="grow">{c.by || "file or transfer"}</span>
              <span class="dim">{c.at ? clock(c.at) : ""}</span> <span class="plus">+{c.added.length}</span> <span class="minus">−{c.removed.length}</span>
            </summary>
            <Diff removed={c.removed} added={c.added} />
            {c.notes > 0 && <p class="dim">{c.notes} comments, switched off records and the like changed as well.</p>}
            <p><button type="button" onClick={() => undo(c)}>Go back to before this</button></p>
          </details>
        </li>
      ))}
    </ol>
  );
}

// Roll asks whether a key is to be rolled, and says what follows. A refusal, such as that a roll is under way, can be overruled.
function Roll({ id, keyOf: k, onClose, onDone }) {
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const roll = async (force) => {
    setBusy(true);
    try {
      await post(`/v1/zones/${enc(id)}/keys/${k.tag}/roll`, force ? { force } : {});
      toast(`A new key takes the place of ${k.tag}, step by step.`);
      onDone();
    } catch (e) {
      setProblem(e);
      setBusy(false);
    }
  };
  return (
    <Dialog title={`Roll ${k.kind} ${k.tag}`} onClose={onClose}>
      <p>A new key is made now. It is published, signs once caches have it, and the old one goes when nobody needs it any more: the zone validates all the while.</p>
      {k.kind !== "ZSK" && <p>The parent zone is to have the new DS record before the old key goes: the page of the keys shows it, and CDS and CDNSKEY records offer it.</p>}
      <Trouble problem={problem} />
      <footer>
        <span class="grow" />
        <button type="button" class="quiet" onClick={onClose}>Cancel</button>
        {problem?.status === 409 ? <button type="button" class="danger" disabled={busy} onClick={() => roll(true)}>Roll all the same</button> : <button type="button" class="main" disabled={busy} onClick={() => roll(false)}>Roll</button>}
      </footer>
    </Dialog>
  );
}

function Keys({ id, zone }) {
  const [pick, setPick] = useState(null);
  const s = useData(zone.signing ? `/v1/zones/${enc(id)}/signing` : null, 15);
  const keys = useData(!zone.signing ? `/v1/zones/${enc(id)}/keys` : null);
  if (!zone.signing) {
    return <><p class="note">{zone.signed ? "The zone is signed elsewhere." : "The zone is not signed: dnssec in the configuration has it signed here."}</p>
      {keys.data?.length > 0 && <Table label="Keys" rows={keys.data} columns={[{ name: "Key", cell: (k) => `${k.id} ${k.keytype}` }, { name: "Algorithm", cell: (k) => k.algorithm }, { name: "Active", cell: (k) => String(k.active) }]} />}</>;
  }
  if (s.problem) return <Trouble problem={s.problem} />;
  if (!s.data) return <Loading />;
  const maySign = grants.value?.admin || grants.value?.grants.some((g) => g.verbs.includes("sign") || g.verbs.includes("admin"));
  const presence = (r) => <Tag kind={{ omnipresent: "good", rumoured: "warn", unretentive: "warn" }[r.state] || "plain"}>{r.state}</Tag>;
  return (
    <>
      <Table label="Keys" keyOf={(k) => k.tag} rows={s.data.keys} columns={[
        { name: "Key", cls: "mono", cell: (k) => k.tag }, { name: "Kind", cell: (k) => k.kind }, { name: "Algorithm", cell: (k) => k.algorithm },
        { name: "DNSKEY", cell: (k) => presence(k.dnskey) }, { name: "Signatures", cell: (k) => presence(k.signatures) }, { name: "DS", cell: (k) => presence(k.ds) },
        { name: "Goal", cell: (k) => k.goal }, { name: "Since", cls: "hide", cell: (k) => ago(k.published_since) },
        ...(maySign ? [{ name: "", cls: "short", cell: (k) => k.goal === "stays" && <button type="button" onClick={() => setPick(k)}>Roll now</button> }] : []),
      ]} />
      {pick && <Roll id={id} keyOf={pick} onClose={() => setPick(null)} onDone={() => { setPick(null); s.again(); }} />}
      {s.data.waits?.length > 0 && <section class="card"><h2>What the next step waits for</h2><ul>{s.data.waits.map((w) => <li key={w}>{w}</li>)}</ul></section>}
      {s.data.ds_wanted?.length > 0 && <section class="card"><h2>DS records that the parent is to have</h2>{s.data.ds_wanted.map((d) => <p key={d} class="mono wrap">{d}</p>)}{s.data.parent_told && <p class="dim">{s.data.parent_told}</p>}</section>}
      {s.data.parent?.length > 0 && <section class="card"><h2>The parent</h2><Table label="Servers of the parent" rows={s.data.parent} columns={[{ name: "Server", cell: (p) => p.server }, { name: "Asked", cell: (p) => ago(p.asked) }, { name: "DS", cell: (p) => p.ds?.length || 0 }, { name: "Trouble", cell: (p) => p.error || "" }]} /></section>}
    </>
  );
}

function About({ zone, id }) {
  const act = async (what, said) => {
    try {
      await post(`/v1/zones/${enc(id)}/${what}`);
      toast(said);
    } catch (e) {
      toast(e.message, "bad");
    }
  };
  const rows = [
    ["File", zone.file], ["Configured at", zone.configured_at], ["Views", zone.views?.join(", ")], ["Names", count(zone.names)], ["Memory", octets(zone.octets)],
    ["Loaded", zone.loaded && `${clock(zone.loaded)} (${ago(zone.loaded)})`], ["Primaries", zone.primaries?.join(", ")], ["Secondaries", zone.secondaries?.join(", ")],
    ["Checked", zone.checked && ago(zone.checked)], ["Next refresh", zone.next_refresh && ago(zone.next_refresh)], ["Expires", zone.expires && ago(zone.expires)],
    ["Catalog", zone.catalog], ["Last error", zone.last_error], ["Differences for IXFR", zone.history],
    ["First signature expires", zone.signing && ago(zone.signing.first_signature_expires)],
  ].filter(([, v]) => v !== undefined && v !== null && v !== "");
  return (
    <>
      <dl class="facts">{rows.map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{v}</dd></div>)}</dl>
      {zone.problems?.map((p, i) => <p key={i} class={`note ${p.warning ? "" : "error"}`}><span class="mono">{p.file}{p.line ? `:${p.line}` : ""}</span> {p.text}</p>)}
      <p class="actions">
        {zone.role === "secondary" ? <button type="button" onClick={() => act("refresh", "The primaries are asked.")}>Refresh</button> : <button type="button" onClick={() => act("notify", "Those who follow the zone are told.")}>Notify</button>}
      </p>
    </>
  );
}
