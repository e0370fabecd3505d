package trustpolicy

import _ "embed" // for the schema

//go:embed schema.json
var schema string

// Schema is the format as a JSON Schema (draft 7), for editors. It cannot say all
// that Decode checks.
func Schema() string { return schema }
