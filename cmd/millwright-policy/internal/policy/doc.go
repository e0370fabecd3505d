// Package policy is the wire between the product and this process: what is
// asked and answered, in JSON. wire.go is a copy of the file of the same name
// in the product's render/policy, written by go generate there and compared by
// a test, because this module must not depend on the product's graph.
package policy
