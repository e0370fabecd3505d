package source_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"millwright.dev/millwright/reconciler/source"
)

func TestAPokeWakesAKnownFactoryAndNothingElse(t *testing.T) {
	t.Parallel()
	var woken []string
	handler := source.PokeHandler(func(namespace, name string) bool {
		if name != "factory" {
			return false
		}
		woken = append(woken, namespace+"/"+name)
		return true
	})
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{http.MethodPost, "/poke/millwright-system/factory", http.StatusAccepted},
		{http.MethodPost, "/poke/millwright-system/none", http.StatusNotFound},
		{http.MethodGet, "/poke/millwright-system/factory", http.StatusMethodNotAllowed},
		{http.MethodPost, "/poke/millwright-system/" + strings.Repeat("a", 300), http.StatusNotFound},
		{http.MethodPost, "/", http.StatusNotFound},
	} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), c.method, c.path, strings.NewReader(strings.Repeat("x", 1<<20))))
		if w.Code != c.want {
			t.Errorf("%s %.60s: %d, want %d", c.method, c.path, w.Code, c.want)
		}
	}
	if len(woken) != 1 || woken[0] != "millwright-system/factory" {
		t.Errorf("woken: %v", woken)
	}
}
