package api

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"
)

func ownDocument(c *call) error { return c.json(http.StatusOK, Document()) }

// Document returns the OpenAPI 3.1 document of /v1, made of the types that its handlers read and send.
func Document() map[string]any {
	schemas := map[string]any{}
	paths := map[string]any{}
	for _, r := range ownRoutes() {
		path, params := "", []any{}
		names := []string{"zone", "id"}
		for _, part := range r.path {
			if part == "*" {
				if strings.HasSuffix(path, "/checks") {
					names[0] = "id"
				}
				part = "{" + names[0] + "}"
				params = append(
					params,
					map[string]any{"name": names[0], "in": "path", "required": true, "schema": map[string]any{"type": "string"}},
				)
				names = names[1:]
			}
			path += "/" + part
		}
		query := r.doc.Query
		if r.zoned() {
			query = append(slices.Clip(query), "view: the view whose zone it is, where several have a zone of the name")
		}
		for _, q := range query {
			name, text, _ := strings.Cut(q, ": ")
			params = append(
				params,
				map[string]any{"name": name, "in": "query", "description": text, "schema": map[string]any{"type": "string"}},
			)
		}
		item, _ := paths[path].(map[string]any)
		if item == nil {
			item = map[string]any{}
			paths[path] = item
		}
		item[strings.ToLower(r.method)] = r.doc.describe(params, schemas)
	}
	return map[string]any{
		"openapi": "3.1.0",
		"info": map[string]any{
			"title":       "port53",
			"version":     "1",
			"description": "The API of port53 at /v1. Errors are as RFC 9457 has them.",
		},
		"paths": paths,
		"components": map[string]any{
			"schemas": schemas,
			"securitySchemes": map[string]any{
				"key":    map[string]any{"type": "apiKey", "in": "header", "name": "X-API-Key"},
				"bearer": map[string]any{"type": "http", "scheme": "bearer"},
			},
		},
		"security": []any{map[string]any{"key": []string{}}, map[string]any{"bearer": []string{}}},
	}
}

func (o *operation) describe(params []any, schemas map[string]any) map[string]any {
	content := func(kind string, of any) map[string]any {
		if of == nil {
			return map[string]any{kind: map[string]any{"schema": map[string]any{"type": "string"}}}
		}
		return map[string]any{kind: map[string]any{"schema": schemaOf(reflect.TypeOf(of), schemas)}}
	}
	status := o.Status
	if status == 0 {
		status = http.StatusOK
	}
	answer := map[string]any{"description": http.StatusText(status)}
	switch {
	case o.Stream != "":
		answer["content"] = content(o.Stream, nil)
	case o.Out != nil:
		answer["content"] = content("application/json", o.Out)
	}
	problem := map[string]any{
		"description": "What is wrong (RFC 9457)",
		"content":     map[string]any{"application/problem+json": map[string]any{"schema": map[string]any{"type": "object"}}},
	}
	item := map[string]any{"summary": o.Summary, "responses": map[string]any{fmt.Sprint(status): answer, "default": problem}}
	if len(params) > 0 {
		item["parameters"] = params
	}
	if o.In != nil {
		item["requestBody"] = map[string]any{"required": true, "content": content("application/json", o.In)}
	}
	return item
}

// schemaOf returns the schema of a type as encoding/json writes it; structs are in schemas.
func schemaOf(t reflect.Type, schemas map[string]any) map[string]any {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case t.Implements(reflect.TypeFor[interface{ MarshalText() ([]byte, error) }]()):
		return map[string]any{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem(), schemas)
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Float32, reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return map[string]any{"type": "string", "contentEncoding": "base64"}
		}
		return map[string]any{"type": "array", "items": schemaOf(t.Elem(), schemas)}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOf(t.Elem(), schemas)}
	case reflect.Struct:
		return structSchema(t, schemas)
	case reflect.Interface:
		return map[string]any{}
	}
	return map[string]any{"type": "integer"}
}

func structSchema(t reflect.Type, schemas map[string]any) map[string]any {
	ref := map[string]any{"$ref": "#/components/schemas/" + t.Name()}
	if schemas[t.Name()] != nil {
		return ref
	}
	properties, required := map[string]any{}, []string{}
	s := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	schemas[t.Name()] = s
	for _, f := range reflect.VisibleFields(t) {
		tag, tagged := f.Tag.Lookup("json")
		if !f.IsExported() || !tagged || tag == "-" {
			continue
		}
		name, rest, _ := strings.Cut(tag, ",")
		properties[name] = schemaOf(f.Type, schemas)
		if f.Type.Kind() == reflect.Slice && !strings.Contains(rest, "omit") {
			properties[name].(map[string]any)["type"] = []string{"array", "null"}
		}
		if !strings.Contains(rest, "omit") {
			required = append(required, name)
		}
	}
	if len(required) > 0 {
		slices.Sort(required)
		s["required"] = required
	}
	return ref
}
