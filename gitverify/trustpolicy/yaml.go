package trustpolicy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	yaml "go.yaml.in/yaml/v3"

	"millwright.dev/millwright/internal/visible"
)

// maxDepth is more than the format needs.
const maxDepth = 10

// The short tags that the YAML library gives to plain scalars.
const (
	tagText = "!!str"
	tagNull = "!!null"
	tagInt  = "!!int"
	tagTime = "!!timestamp"
)

// checkVisible lets through what a reviewer sees as it is: a comment could hide
// an identity that counts, or show another one, and UTF-16 a binary file.
func checkVisible(data []byte) *Invalid {
	hidden := visible.Unprintable(data)
	switch {
	case hidden == nil:
		return nil
	case hidden.Line == 0:
		return invalid(0, "the file is not UTF-8")
	}
	return invalid(hidden.Line, "the invisible character %U", hidden.Character)
}

// plainYAML lets through one document of maps, lists and scalars that says
// everything once and in its place.
func plainYAML(data []byte) (*yaml.Node, *Invalid) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var document yaml.Node
	if err := dec.Decode(&document); errors.Is(err, io.EOF) {
		return nil, invalid(0, "the file is empty")
	} else if err != nil {
		return nil, invalid(0, "not YAML: %v", err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, invalid(0, "more than one YAML document")
	}
	return document.Content[0], checkNode(document.Content[0], 1)
}

func checkNode(n *yaml.Node, depth int) *Invalid {
	switch {
	case depth > maxDepth:
		return invalid(n.Line, "nested too deeply")
	case n.Kind == yaml.AliasNode, n.Anchor != "":
		return invalid(n.Line, "anchors and aliases are not allowed")
	case n.Style&yaml.TaggedStyle != 0:
		return invalid(n.Line, "tags are not allowed")
	case n.Kind == yaml.ScalarNode && n.ShortTag() == tagNull:
		return invalid(n.Line, "a key or an entry without a value; leave it out")
	}
	seen := map[string]bool{}
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			if child.Kind != yaml.ScalarNode || child.Value == "<<" || seen[child.Value] {
				return invalid(child.Line, "the key %s is there twice, or is not plain text", quote(child.Value))
			}
			seen[child.Value] = true
		}
		if bad := checkNode(child, depth+1); bad != nil {
			return bad
		}
	}
	return nil
}

// quote shows a bounded piece of a file.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		return strconv.Quote(s[:most]) + "…"
	}
	return strconv.Quote(s)
}

// reader walks nodes; the first mistake stays and ends nothing, so that callers
// need not ask after every field.
type reader struct{ bad *Invalid }

func (r *reader) fail(n *yaml.Node, format string, args ...any) {
	if r.bad == nil {
		r.bad = invalid(n.Line, "%s", fmt.Sprintf(format, args...))
	}
}

// keys are the fields that a map may have.
type keys map[string]func(*yaml.Node)

func (r *reader) mapping(n *yaml.Node, what string, known keys) {
	if n.Kind != yaml.MappingNode {
		r.fail(n, "%s must be a map", what)
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		read, ok := known[key.Value]
		if !ok {
			r.fail(key, "%s has no field %s", what, quote(key.Value))
			return
		}
		read(value)
	}
}

// list reads at most most entries, and at least one: an empty list can be left
// out, or is a mistake.
func (r *reader) list(what string, most int, entry func(*yaml.Node)) func(*yaml.Node) {
	return func(n *yaml.Node) {
		switch {
		case n.Kind != yaml.SequenceNode:
			r.fail(n, "%s must be a list", what)
		case len(n.Content) == 0:
			r.fail(n, "%s is empty", what)
		case len(n.Content) > most:
			r.fail(n, "%s has %d entries, more than %d", what, len(n.Content), most)
		default:
			for _, child := range n.Content {
				entry(child)
			}
		}
	}
}

// texts reads a list of plain text without repetition.
func (r *reader) texts(what string, into *[]string) func(*yaml.Node) {
	seen := map[string]bool{}
	return r.list(what, maxEntries, func(n *yaml.Node) {
		var one string
		r.text("an entry of "+what, &one)(n)
		if seen[one] {
			r.fail(n, "%s has %s twice", what, quote(one))
		}
		seen[one] = true
		*into = append(*into, one)
	})
}

// text reads one plain line. What YAML takes for a number or a truth value is
// refused, since it may not mean what was typed (1_0, 0x1f, no).
func (r *reader) text(what string, into *string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		switch {
		case n.ShortTag() != tagText: // a list's and a map's is another, too
			r.fail(n, "%s must be text; put it in quotes", what)
		case !plain(n.Value):
			r.fail(n, "%s must be one line of text of 1 to %d bytes, without spaces at its ends and without invisible characters", what, maxField)
		default:
			*into = n.Value
		}
	}
}

// shaped reads a scalar of a given form, whatever YAML takes it for: forty hex
// digits may look like a number.
func (r *reader) shaped(what, form string, into *string, shape *regexp.Regexp) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if n.Kind != yaml.ScalarNode || len(n.Value) > maxField || !shape.MatchString(n.Value) {
			r.fail(n, "%s must be %s", what, form)
			return
		}
		*into = n.Value
	}
}

func (r *reader) choice(what string, into *string, values ...string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		for _, v := range values {
			if n.Kind == yaml.ScalarNode && n.Value == v {
				*into = v
				return
			}
		}
		r.fail(n, "%s must be %s", what, strings.Join(values, " or "))
	}
}

// number reads a decimal number of 1 or more.
func (r *reader) number(what string, into *int64) func(*yaml.Node) {
	return func(n *yaml.Node) {
		value, err := strconv.ParseInt(n.Value, 10, 64)
		if n.Kind != yaml.ScalarNode || n.ShortTag() != tagInt || err != nil || strconv.FormatInt(value, 10) != n.Value || value < 1 {
			r.fail(n, "%s must be a whole number of 1 or more", what)
			return
		}
		*into = value
	}
}

func (r *reader) moment(what string, into *time.Time) func(*yaml.Node) {
	return func(n *yaml.Node) {
		at, err := time.Parse(time.RFC3339, n.Value)
		if n.Kind != yaml.ScalarNode || (n.ShortTag() != tagTime && n.ShortTag() != tagText) || err != nil {
			r.fail(n, "%s must be a time with its zone, such as 2026-01-31T00:00:00Z", what)
			return
		}
		*into = at.UTC()
	}
}

// Bounds on durations: below a minute nothing could be kept, above ten years
// nothing is asked.
const (
	minDuration = time.Minute
	maxDuration = 10 * 365 * 24 * time.Hour
)

func (r *reader) duration(what string, into *time.Duration) func(*yaml.Node) {
	return func(n *yaml.Node) {
		d, err := time.ParseDuration(n.Value)
		if n.Kind != yaml.ScalarNode || len(n.Value) > maxField || err != nil || d < minDuration || d > maxDuration {
			r.fail(n, "%s must be a duration from 1m to 87600h, such as 168h", what)
			return
		}
		*into = d
	}
}

// armored reads lines of printable ASCII.
func (r *reader) armored(what string, into *string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if n.Kind != yaml.ScalarNode || n.Value == "" || len(n.Value) > maxKey {
			r.fail(n, "%s must be text of at most %d bytes", what, maxKey)
			return
		}
		for _, c := range []byte(n.Value) {
			if c != '\n' && (c < ' ' || c > '~') {
				r.fail(n, "%s must be printable ASCII", what)
				return
			}
		}
		*into = n.Value
	}
}
