import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import "@preact/signals";
import "uplot/dist/uPlot.min.css";
import "./app.css";
import { grants, me, post, signInByPasskey, whoAmI } from "./api.js";
import { Account, Audit, Checks, Dashboard, Filters, Keys, Peers, Queries, Settings, Top, Whys } from "./pages.jsx";
import { Toasts, Trouble } from "./ui.jsx";
import { Zone, Zones } from "./zones.jsx";

const pages = [
  ["dashboard", "Dashboard", "read"], ["zones", "Zones"], ["queries", "Queries", "admin"], ["why", "Why", "admin"], ["top", "Top", "admin"], ["filters", "Filters", "read"],
  ["checks", "Checks", "admin"], ["keys", "Keys", "admin"], ["peers", "Peers"], ["audit", "Audit", "admin"], ["settings", "Settings", "admin"],
];

function useHash() {
  const [hash, set] = useState(location.hash);
  useEffect(() => {
    const f = () => set(location.hash);
    addEventListener("hashchange", f);
    return () => removeEventListener("hashchange", f);
  }, []);
  return hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
}

function SignIn({ said }) {
  const who = me.value;
  const [problem, setProblem] = useState(said ? new Error(said) : null);
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  useEffect(() => { document.title = "Sign in · port53"; }, []);
  const run = (f) => async (e) => {
    e?.preventDefault?.();
    setProblem(null);
    try {
      await f();
    } catch (x) {
      setProblem(x.name === "NotAllowedError" ? new Error("No passkey was chosen.") : x);
    }
  };
  return (
    <main class="signin">
      <div class="card">
        <h1><img src="/icon.svg" alt="" width="36" height="36" /> port53</h1>
        <Trouble problem={problem} />
        {who.users && who.can_keys && <button type="button" class="main big" onClick={run(signInByPasskey)}>Sign in with a passkey</button>}
        {who.users && !who.can_keys && <p class="note">Passkeys work at <a href={who.origin}>{who.origin}</a>.</p>}
        {who.provider && <a class="button big" href="/auth/oidc/start">Sign in by {new URL(who.provider).host}</a>}
        {who.passwords && (
          <form onSubmit={run(async () => { await post("/auth/password", { name, password }); await whoAmI(); })}>
            <label>Name<input value={name} onInput={(e) => setName(e.currentTarget.value)} autocomplete="username" required /></label>
            <label>Password<input type="password" value={password} onInput={(e) => setPassword(e.currentTarget.value)} autocomplete="current-password" required /></label>
            <button type="submit" class="big">Sign in</button>
          </form>
        )}
        <p class="dim">{who.users || who.provider ? "No way in? " : "Nobody has an account yet. "}On the server, <code>port53 console</code> prints a link that signs in once.</p>
      </div>
    </main>
  );
}

function App() {
  const [page, a, b] = useHash();
  const [theme, setTheme] = useState(localStorage.getItem("theme") || "");
  const [said, setSaid] = useState("");
  const [menu, setMenu] = useState(false);
  useEffect(() => {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    localStorage.setItem("theme", theme);
  }, [theme]);
  useEffect(() => {
    (async () => {
      const [, kind, value] = location.hash.match(/^#(link|problem)=(.*)$/) || [];
      if (kind) history.replaceState(null, "", "/"); // nobody is to find it in the history
      if (kind === "problem") setSaid(decodeURIComponent(value.replace(/\+/g, " ")));
      if (kind === "link") {
        try {
          await post("/auth/link", { link: value });
        } catch (e) {
          setSaid(e.message);
        }
      }
      await whoAmI().catch(() => setSaid("the server does not answer"));
    })();
  }, []);
  useEffect(() => { setMenu(false); document.querySelector(".content")?.scrollTo(0, 0); }, [page, a]);
  const who = me.value;
  if (!who) return <main class="signin">{said && <Trouble problem={new Error(said)} />}</main>;
  if (!who.name) return <SignIn key={said} said={said} />;
  const may = (need) => !need || !grants.value || grants.value.admin || (need === "read" && grants.value.grants.some((g) => g.all_zones && g.names.includes("*") && !g.types.length && (g.verbs.includes("read") || g.verbs.includes("admin"))));
  const list = pages.filter(([, , need]) => may(need));
  const at = list.some(([p]) => p === page) || page === "account" ? page : list[0][0];
  const shown = {
    dashboard: () => <Dashboard />, zones: () => (a ? <Zone id={a} tab={b} /> : <Zones />), queries: () => <Queries />, why: () => <Whys />, top: () => <Top />, filters: () => <Filters />,
    checks: () => <Checks id={a} />, keys: () => <Keys />, peers: () => <Peers />, audit: () => <Audit />, settings: () => <Settings />, account: () => <Account theme={theme} setTheme={setTheme} />,
  }[at];
  const first = who.how === "a link" && !who.account && !who.users && who.can_keys && at !== "account";
  return (
    <div class={`frame ${menu ? "open" : ""}`}>
      <a class="skip" href="#title" onClick={(e) => { e.preventDefault(); document.getElementById("title")?.focus(); }}>To the content</a>
      <div class="side">
        <div class="brand"><img src="/icon.svg" alt="" width="24" height="24" /><b>port53</b>
          <button type="button" class="quiet burger" aria-expanded={menu} aria-controls="menu" onClick={() => setMenu(!menu)}>{menu ? "Close" : "Menu"}</button></div>
        <nav id="menu" aria-label="Pages">
          {list.map(([p, name]) => <a key={p} href={`#/${p}`} aria-current={p === at ? "page" : undefined}>{name}</a>)}
          <span class="grow" />
          <a href="#/account" class="who" aria-current={at === "account" ? "page" : undefined}><small>{who.how}</small>{who.name}</a>
        </nav>
      </div>
      <main class="content">
        {first && <p class="note"><a href="#/account">Make a passkey</a>, so that you need no link the next time.</p>}
        {shown()}
      </main>
      <Toasts />
    </div>
  );
}

render(<App />, document.getElementById("app"));
