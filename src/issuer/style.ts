/** The stylesheet of the issuer's pages; the colours are those of the documentation page. */
export const style = `:root {
  color-scheme: light dark;
  --page: #eef2f5;
  --card: #ffffff;
  --text: #16242f;
  --quiet: #52636f;
  --line: #ccd6dd;
  --field: #ffffff;
  --action: #16324a;
  --action-over: #234b6d;
  --on-action: #ffffff;
  --focus: #b07a10;
  --fault: #9b1c1c;
  --fault-page: #fdf0ef;
  --gate: #16324a;
}

@media (prefers-color-scheme: dark) {
  :root {
    --page: #10181e;
    --card: #19242c;
    --text: #e6ecf0;
    --quiet: #a3b2bd;
    --line: #3a4a56;
    --field: #111b22;
    --action: #bcd8ee;
    --action-over: #d8e9f6;
    --on-action: #10202c;
    --focus: #e0a83a;
    --fault: #ffb4ab;
    --fault-page: #3a1c1a;
    --gate: #16324a;
  }
}

*,
*::before,
*::after {
  box-sizing: border-box;
}

html {
  min-height: 100%;
  background: var(--page);
}

body {
  display: flex;
  flex-direction: column;
  align-items: center;
  justify-content: center;
  min-height: 100vh;
  min-height: 100dvh;
  margin: 0;
  padding: 24px 16px;
  color: var(--text);
  font: 16px / 1.5 system-ui, sans-serif;
}

main {
  width: 100%;
  max-width: 400px;
  padding: 36px 36px 32px;
  background: var(--card);
  border: 1px solid var(--line);
  border-radius: 14px;
  box-shadow: 0 1px 2px rgb(16 32 44 / 6%), 0 12px 32px rgb(16 32 44 / 8%);
}

.gate {
  display: block;
  width: 44px;
  height: 44px;
  margin: 0 0 20px;
}

.gate rect {
  fill: var(--gate);
}

h1 {
  margin: 0;
  font-size: 24px;
  font-weight: 650;
  line-height: 1.25;
  letter-spacing: -0.01em;
}

p {
  margin: 8px 0 0;
  color: var(--quiet);
}

strong {
  color: var(--text);
  font-weight: 600;
  overflow-wrap: anywhere;
}

form {
  margin: 24px 0 0;
}

label {
  display: block;
  margin: 16px 0 6px;
  font-weight: 550;
}

input {
  display: block;
  width: 100%;
  min-height: 46px;
  padding: 9px 12px;
  color: inherit;
  font: inherit;
  background: var(--field);
  border: 1px solid var(--quiet);
  border-radius: 8px;
}

input[type='hidden'] {
  display: none;
}

button {
  display: block;
  width: 100%;
  min-height: 46px;
  margin: 24px 0 0;
  padding: 9px 16px;
  color: var(--on-action);
  font: inherit;
  font-weight: 600;
  background: var(--action);
  border: 1px solid var(--action);
  border-radius: 8px;
  cursor: pointer;
}

button:hover {
  background: var(--action-over);
}

button.other {
  margin-top: 12px;
  color: var(--text);
  background: transparent;
  border-color: var(--line);
}

button.other:hover {
  background: var(--page);
}

:focus-visible {
  outline: 3px solid var(--focus);
  outline-offset: 2px;
}

.fault {
  margin: 20px 0 0;
  padding: 12px 14px;
  color: var(--fault);
  background: var(--fault-page);
  border-left: 4px solid var(--fault);
  border-radius: 6px;
}

.detail {
  margin-top: 20px;
  padding-top: 16px;
  font-size: 14px;
  border-top: 1px solid var(--line);
  overflow-wrap: anywhere;
}

code {
  font: 0.93em ui-monospace, monospace;
}

@media (max-width: 440px) {
  main {
    padding: 28px 22px 24px;
  }
}
`
