package plan

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millwright.dev/millwright/render"
)

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	entries := map[render.ID]Entry{
		cmID("a"):                         {Component: "mill", APIVersion: "v1", Declared: "sha256:x", Meta: meta("u")},
		{Kind: "Namespace", Name: "mill"}: {Component: "mill", APIVersion: "v1", Pending: true},
	}
	raw, err := EncodeRecord("mill", entries)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeRecord("mill", raw)
	if diff := cmp.Diff(entries, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	for i := range raw {
		spoilt := append([]byte(nil), raw...)
		spoilt[i] ^= 0x21
		if got, err := DecodeRecord("mill", spoilt); err == nil && cmp.Diff(entries, got) != "" {
			t.Fatalf("byte %d was changed unseen", i)
		}
	}
}

func TestADamagedRecordIsNoRecord(t *testing.T) {
	t.Parallel()
	raw, err := EncodeRecord("mill", map[render.ID]Entry{cmID("a"): {Component: "mill", APIVersion: "v1"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"empty":             "",
		"cut":               string(raw[:len(raw)/2]),
		"more":              string(raw) + "{}",
		"unknown field":     strings.Replace(string(raw), `{"version"`, `{"x":1,"version"`, 1),
		"an older version":  strings.Replace(string(raw), `"version":1`, `"version":0`, 1),
		"an entry changed":  strings.Replace(string(raw), `"name":"a"`, `"name":"b"`, 1),
		"another component": strings.Replace(string(raw), `"component":"mill"`, `"component":"oven"`, 1),
		"too large":         strings.Repeat(" ", maxRecord+1),
		"a list":            "[]",
		"nothing":           "null",
	} {
		if _, err := DecodeRecord("mill", []byte(data)); !errors.Is(err, ErrRecordDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestARecordThatIsTooLargeIsRefused(t *testing.T) {
	t.Parallel()
	entries := map[render.ID]Entry{}
	for i := range 6000 {
		entries[cmID(fmt.Sprintf("a-rather-long-name-of-an-object-%d", i))] = Entry{Declared: strings.Repeat("x", 71), Meta: meta("u")}
	}
	if _, err := EncodeRecord("mill", entries); !errors.Is(err, ErrRecordTooLarge) {
		t.Error(err)
	}
}

func TestARecordOfANewerVersionIsNeitherReadNorTakenForDamaged(t *testing.T) { // row K24
	t.Parallel()
	for _, data := range []string{`{"version":2}`, `{"version":2,"component":"mill","shards":[1,2]}`} {
		if _, err := DecodeRecord("mill", []byte(data)); !errors.Is(err, ErrRecordNewer) || errors.Is(err, ErrRecordDamaged) {
			t.Errorf("%s: %v", data, err)
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	raw, err := EncodeRecord("mill", map[render.ID]Entry{cmID("a"): {Component: "mill", APIVersion: "v1", Declared: "sha256:x"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"version":1,"component":"mill","digest":"","entries":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := DecodeRecord("mill", data)
		if err != nil {
			return
		}
		again, err := EncodeRecord("mill", entries)
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeRecord("mill", again)
		if diff := cmp.Diff(entries, back); err != nil || diff != "" {
			t.Fatal(err, diff)
		}
	})
}

func TestOnlyTheStatusMovedMeansUntouched(t *testing.T) {
	t.Parallel()
	was := Meta{UID: "u", ResourceVersion: "1", Generation: 3, Fingerprint: "f"}
	plain := Meta{UID: "u", ResourceVersion: "1", Fingerprint: "f"}
	for name, tc := range map[string]struct {
		was, is Meta
		want    bool
	}{
		"the same":                              {was, was, true},
		"only the status":                       {was, Meta{"u", "2", 3, "f"}, true},
		"the content":                           {was, Meta{"u", "2", 4, "f"}, false},
		"labels or ownership":                   {was, Meta{"u", "2", 3, "g"}, false},
		"another object":                        {was, Meta{"v", "1", 3, "f"}, false},
		"a kind that does not count generation": {plain, Meta{"u", "2", 0, "f"}, false},
		"never recorded":                        {Meta{}, Meta{}, false},
	} {
		if got := tc.was.Untouched(tc.is); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestTheWriterOfAFieldIsNamed(t *testing.T) {
	t.Parallel()
	at := metav1.Unix(1000, 0)
	later := metav1.Unix(2000, 0)
	fields := []metav1.ManagedFieldsEntry{
		{Manager: "millwright/mill", Operation: "Apply", Time: &at, FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:replicas":{}}}`)},
		{Manager: "old", Operation: "Update", Time: &at, FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:replicas":{}}}`)},
		{Manager: "new\n", Operation: "Update", Time: &later, FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:replicas":{},"f:containers":{"k:{\"name\":\"b\"}":{"f:image":{}}},"f:args":{}}}`)},
		{Manager: "broken", Operation: "Update", Time: &later, FieldsV1: metav1.NewFieldsV1(`{`)},
	}
	live := map[string]any{"metadata": map[string]any{"uid": "x", "labels": map[string]any{}}, "spec": map[string]any{
		"replicas": int64(3), "args": []any{"x", "y"},
		"containers": []any{map[string]any{"name": "a", "image": "1"}, map[string]any{"name": "b", "image": "evil"}},
	}}
	want := map[string]any{"metadata": map[string]any{"uid": "y", "labels": map[string]any{"example.org/x": "y"}}, "spec": map[string]any{
		"replicas": int64(1), "args": []any{"x"},
		"containers": []any{map[string]any{"name": "b", "image": "1"}, map[string]any{"name": "a", "image": "1"}},
	}}
	got := map[string]string{}
	for _, d := range Compare(live, want, fields, "millwright/mill") {
		got[d.Path] = d.Manager
	}
	expected := map[string]string{
		".spec.replicas":                    "new?",
		".spec.args[1]":                     "new?",
		".spec.containers[name=b].image":    "new?",
		`.metadata.labels["example.org/x"]`: "new?", // nobody owns what was removed; all else is by one
	}
	if diff := cmp.Diff(expected, got); diff != "" {
		t.Error(diff)
	}
}
