package factory_test

import (
	"errors"
	"path/filepath"
	"testing"

	"millwright.dev/millwright/render/factory"
)

func FuzzDecode(f *testing.F) {
	f.Add([]byte(accepted))
	f.Add([]byte("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"))
	f.Add([]byte(withObjects(`{kind: Pod, ignore: ['.a["b/c"][name=d][0]'], exact: true}`)))
	f.Add([]byte("{}\n---\n{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := factory.Decode(data)
		if err != nil {
			var no *factory.Refusal
			if !errors.As(err, &no) || no.Hint == "" {
				t.Fatalf("got %v, want a refusal with a hint", err)
			}
			return
		}
		for _, e := range c.Environments {
			last := 0
			for _, k := range e.Components(c) {
				if !filepath.IsLocal(k.Path) || k.Stage < last {
					t.Fatalf("accepted %+v", k)
				}
				last = k.Stage
			}
		}
	})
}
