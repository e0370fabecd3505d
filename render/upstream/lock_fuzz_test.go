package upstream_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"millwright.dev/millwright/render/upstream"
)

func FuzzDecodeLock(f *testing.F) {
	head := "apiVersion: millwright.dev/v1alpha1\nkind: UpstreamLock\nmetadata: {name: part}\nspec:\n  module: example.test/parts\n  version: v1.2.3\n" +
		"  sum: " + goModSum + "\n  goModSum: " + goModSum + "\n  files:\n"
	f.Add([]byte(head + pin("config/a.yaml", "a.yaml", "a: 1\n")))
	f.Add([]byte(head + pin("config/a.yaml", "../a.yaml", "a: 1\n")))
	f.Add([]byte("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"))
	f.Add([]byte("{}\n---\n{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := upstream.DecodeLock("part", data)
		if err != nil {
			var no *upstream.Refusal
			if !errors.As(err, &no) || no.Hint == "" {
				t.Fatalf("got %v, want a refusal with a hint", err)
			}
			return
		}
		for _, file := range l.Spec.Files {
			if !filepath.IsLocal(filepath.FromSlash(file.To)) || strings.Contains(file.From, "..") && !filepath.IsLocal(file.From) {
				t.Fatalf("accepted %+v", file)
			}
		}
	})
}
