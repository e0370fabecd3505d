package source

import (
	"net/http"
	"strings"
)

// PokeHandler answers POST /poke/NAMESPACE/NAME by waking that factory, so that
// a push need not wait for the next poll. A poke is a hint and nothing else:
// its body is not read, it names no commit, and what it wakes does the same
// as the clock would have (attack row E09). Calls to wake must be cheap and
// coalesce; wake reports whether the factory is known.
func PokeHandler(wake func(namespace, name string) bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /poke/{namespace}/{name}", func(w http.ResponseWriter, r *http.Request) {
		namespace, name := r.PathValue("namespace"), r.PathValue("name")
		if len(namespace) > 63 || len(name) > 253 || strings.ContainsAny(namespace+name, "\x00\n\r") {
			http.Error(w, "no such factory", http.StatusNotFound)
			return
		}
		if !wake(namespace, name) {
			http.Error(w, "no such factory", http.StatusNotFound)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	})
	return mux
}
