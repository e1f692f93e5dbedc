// The API as /openapi.json describes it. Nothing is loaded from other servers.

const make = (tag, text = "", ...children) => {
  const element = document.createElement(tag);
  element.append(text, ...children);
  return element;
};

const { paths, components } = await (await fetch("/openapi.json")).json();

const kind = (schema = {}) =>
  schema.$ref ? schema.$ref.split("/").pop() : schema.anyOf ? schema.anyOf.map(kind).join(" or ") : schema.type ?? "any";

const bounds = (schema = {}) =>
  ["minimum", "maximum", "minLength", "maxLength"].filter((key) => key in schema).map((key) => `${key} ${schema[key]}`)
    .concat("default" in schema ? [`default ${JSON.stringify(schema.default)}`] : []).join(", ");

const row = (name, schema, required, description) =>
  make("tr", "", make("th", name), make("td", kind(schema)), make("td", required ? "required" : bounds(schema)),
    make("td", description ?? schema.description ?? ""));

for (const [path, methods] of Object.entries(paths)) {
  for (const [method, about] of Object.entries(methods)) {
    const section = make("section", "", make("h2", `${method.toUpperCase()} ${path}`), make("p", about.summary ?? ""));
    const rows = (about.parameters ?? []).map((one) => row(one.name, one.schema, one.required, one.description));
    const body = about.requestBody?.content?.["application/json"]?.schema?.$ref?.split("/").pop();
    for (const [name, schema] of Object.entries(components.schemas[body]?.properties ?? {})) {
      rows.push(row(name, schema, components.schemas[body].required?.includes(name)));
    }
    if (rows.length) section.append(make("table", "", make("tbody", "", ...rows)));
    const errors = Object.entries(about.responses).filter(([status]) => Number(status) >= 400);
    const told = errors.map(([status, { description }]) => make("tr", "", make("th", status), make("td", description)));
    const list = make("details", "", make("summary", "Errors"), make("table", "", make("tbody", "", ...told)));
    if (told.length) section.append(list);
    document.querySelector("#paths").append(section);
  }
}
