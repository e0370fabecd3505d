package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"millwright.dev/millwright/render"
)

// Entry is one object that is ours.
type Entry struct {
	Component  string
	APIVersion string
	// Declared is the digest of the object as it was last applied.
	Declared string
	// Pending marks an intent: a write of the object was about to begin. It is
	// ours only if it carries our field manager.
	Pending bool
	// Mutated says that admission changed declared fields while they were applied:
	// the object is not as declared although nobody touched it since.
	Mutated bool
	// Ignored is the digest of the fields that were ignored then, empty for none:
	// with another rule the object has to be looked at again.
	Ignored string
	Meta
}

// Inventory is everything that is ours in a cluster.
type Inventory struct {
	Entries map[render.ID]Entry
	// Rebuilt names the components whose record was lost or damaged and was
	// made anew from field managers; nothing of them is pruned in that pass.
	Rebuilt []string
	// Records maps a component to the resource version of its stored record;
	// absent if there is none. Writes are conditional on it, so two writers
	// cannot both believe that they are the only one (F12).
	Records map[string]string
}

// IDs lists the objects in a stable order.
func (inv Inventory) IDs() []render.ID {
	return slices.SortedFunc(maps.Keys(inv.Entries), compareID)
}

// Components lists the components that have entries or records, sorted.
func (inv Inventory) Components() []string {
	set := map[string]bool{}
	for _, e := range inv.Entries {
		set[e.Component] = true
	}
	for c := range inv.Records {
		set[c] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// Of returns the entries of one component.
func (inv Inventory) Of(component string) map[render.ID]Entry {
	out := map[render.ID]Entry{}
	for id, e := range inv.Entries {
		if e.Component == component {
			out[id] = e
		}
	}
	return out
}

// Digest is "sha256:<hex>" over all entries without what changes by itself
// (resource versions, fingerprints): same objects, same digest.
func (inv Inventory) Digest() string {
	h := sha256.New()
	for _, id := range inv.IDs() {
		e := inv.Entries[id]
		fmt.Fprintf(h, "%q %q %q %q %q\n", Name(id), e.Component, e.APIVersion, e.Declared, e.UID)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

func (inv Inventory) clone() Inventory {
	out := Inventory{Entries: maps.Clone(inv.Entries), Rebuilt: slices.Clone(inv.Rebuilt), Records: maps.Clone(inv.Records)}
	if out.Entries == nil {
		out.Entries = map[render.ID]Entry{}
	}
	return out
}

// Name writes an ID for people: Kind.group namespace/name.
func Name(id render.ID) string {
	kind := id.Kind
	if id.Group != "" {
		kind += "." + id.Group
	}
	if id.Namespace != "" {
		return kind + " " + id.Namespace + "/" + id.Name
	}
	return kind + " " + id.Name
}

func compareID(a, b render.ID) int {
	for _, c := range []int{
		strings.Compare(a.Group, b.Group), strings.Compare(a.Kind, b.Kind),
		strings.Compare(a.Namespace, b.Namespace),
	} {
		if c != 0 {
			return c
		}
	}
	return strings.Compare(a.Name, b.Name)
}

// recordVersion is the version of the stored form.
const recordVersion = 1

// maxRecord bounds a stored record: an object in etcd holds 1.5 MiB, a
// ConfigMap 1 MiB.
const maxRecord = 960 << 10

// ErrRecordDamaged says that a stored record cannot be trusted: rebuild it.
var ErrRecordDamaged = errors.New("inventory record is damaged")

// ErrRecordNewer says that a newer version of this program wrote the record: it
// is neither read nor replaced.
var ErrRecordNewer = errors.New("inventory record was written by a newer version of millwright")

// ErrRecordTooLarge says that a component has more objects than one record holds.
var ErrRecordTooLarge = errors.New("inventory record is too large")

type record struct {
	Version   int             `json:"version"`
	Component string          `json:"component"`
	Digest    string          `json:"digest"`
	Entries   json.RawMessage `json:"entries"`
}

type recordEntry struct {
	Group      string `json:"group,omitempty"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
	APIVersion string `json:"apiVersion"`
	Declared   string `json:"declared,omitempty"`
	Pending    bool   `json:"pending,omitempty"`
	Mutated    bool   `json:"mutated,omitempty"`
	Ignored    string `json:"ignored,omitempty"`
	Meta
}

// EncodeRecord writes the entries of one component for storage.
func EncodeRecord(component string, entries map[render.ID]Entry) ([]byte, error) {
	list := make([]recordEntry, 0, len(entries))
	for _, id := range slices.SortedFunc(maps.Keys(entries), compareID) {
		e := entries[id]
		list = append(list, recordEntry{id.Group, id.Kind, id.Namespace, id.Name, e.APIVersion, e.Declared, e.Pending, e.Mutated, e.Ignored, e.Meta})
	}
	raw, err := json.Marshal(list)
	if err != nil {
		return nil, fmt.Errorf("encoding inventory of %s: %w", component, err)
	}
	out, err := json.Marshal(record{recordVersion, component, digest(raw), raw})
	if err != nil {
		return nil, fmt.Errorf("encoding inventory of %s: %w", component, err)
	}
	if len(out) > maxRecord {
		return nil, fmt.Errorf("%w: %s has %d objects in %d bytes, limit %d", ErrRecordTooLarge, component, len(list), len(out), maxRecord)
	}
	return out, nil
}

// DecodeRecord reads what [EncodeRecord] wrote. Anything else is
// [ErrRecordDamaged]: the caller rebuilds and prunes nothing (F08). The digest
// finds damage, not malice; what an editor of the record could gain is bounded
// by Compute, which prunes only what carries our field manager.
func DecodeRecord(component string, data []byte) (map[render.ID]Entry, error) {
	if len(data) > maxRecord {
		return nil, fmt.Errorf("%w: %d bytes", ErrRecordDamaged, len(data))
	}
	var r record
	if fromNewer(data) {
		return nil, ErrRecordNewer
	}
	if err := strict(data, &r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecordDamaged, err)
	}
	if r.Version != recordVersion || r.Component != component {
		return nil, fmt.Errorf("%w: version %d of component %q", ErrRecordDamaged, r.Version, r.Component)
	}
	if digest(r.Entries) != r.Digest {
		return nil, fmt.Errorf("%w: digest differs", ErrRecordDamaged)
	}
	var list []recordEntry
	if err := strict(r.Entries, &list); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecordDamaged, err)
	}
	out := make(map[render.ID]Entry, len(list))
	for _, e := range list {
		id := render.ID{Group: e.Group, Kind: e.Kind, Namespace: e.Namespace, Name: e.Name}
		if _, double := out[id]; double || e.Kind == "" || e.Name == "" || e.APIVersion == "" {
			return nil, fmt.Errorf("%w: entry %q", ErrRecordDamaged, Name(id))
		}
		out[id] = Entry{component, e.APIVersion, e.Declared, e.Pending, e.Mutated, e.Ignored, e.Meta}
	}
	return out, nil
}

// fromNewer looks at the version alone: a newer form may have other fields. Whoever
// edits a record into that stops this factory, but makes it delete nothing.
func fromNewer(data []byte) bool {
	var r struct {
		Version int `json:"version"`
	}
	return json.Unmarshal(data, &r) == nil && r.Version > recordVersion
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func strict(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if d.More() {
		return errors.New("trailing data")
	}
	return nil
}
