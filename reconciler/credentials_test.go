package reconciler_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
)

// door is a Git server that wants a password, which can change.
type door struct {
	url      string
	password atomic.Pointer[string]
	refused  atomic.Int64
}

func (p *plant) behindADoor(password string) *door {
	p.t.Helper()
	target, err := url.Parse(p.git.RepoURL("factory"))
	p.must(err)
	d := &door{}
	d.password.Store(&password)
	behind := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: target.Scheme, Host: target.Host})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, given, _ := r.BasicAuth(); given != *d.password.Load() {
			d.refused.Add(1)
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		behind.ServeHTTP(w, r)
	}))
	p.t.Cleanup(server.Close)
	d.url = server.URL + target.Path
	return d
}

func TestCredentialsAreReadAgainWhenTheServerDoesNotTakeThem(t *testing.T) {
	p := newPlant(t)
	d := p.behindADoor("old")
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: "source"},
		StringData: map[string]string{"username": "millwright", "password": "old"},
	}
	p.must(p.client.Create(t.Context(), secret))
	var f v1alpha1.Factory
	p.must(p.client.Get(t.Context(), client.ObjectKey{Namespace: p.namespace, Name: "factory"}, &f))
	f.Spec.Source.URL, f.Spec.Source.SecretRef = d.url, &v1alpha1.LocalReference{Name: "source"}
	p.must(p.client.Update(t.Context(), &f))
	p.setConfig("two")
	p.commit(alice, "two")
	l, end := p.audited()
	defer end()
	p.applied()
	p.untilQuiet(l) // with credentials, too
	d.refused.Store(0)

	changed := "new"
	d.password.Store(&changed)
	p.setConfig("three")
	commit := p.commit(alice, "three")
	p.pass()
	if d.refused.Load() == 0 {
		t.Fatal("the old password was taken")
	}
	l.take()
	secret.StringData = map[string]string{"password": "new"}
	p.must(p.client.Update(t.Context(), secret))
	if got := p.applied().Status.Applied.Commit; got != commit {
		t.Errorf("%s is applied, want %s", got, commit)
	}
	asked := 0
	for _, a := range l.take() {
		if strings.HasSuffix(a, "/secrets/source") && strings.HasPrefix(a, "GET ") {
			asked++
		}
	}
	if asked != 1 {
		t.Errorf("the Secret was read %d times after it changed", asked)
	}
	p.untilQuiet(l)
	// Nothing tells of a Secret that changes while the old one is still taken, but a
	// sweep looks.
	p.must(p.client.Delete(t.Context(), secret))
	p.step()
	if asked := l.take(); len(asked) != 0 {
		t.Errorf("a quiet pass asked %v", asked)
	}
	p.late += 11 * time.Minute
	if c := conditionOf(p.pass(), v1alpha1.ConditionSourceVerified); c.Status == metav1.ConditionTrue || !strings.Contains(c.Message, "credentials") {
		t.Errorf("a Secret that is gone: %+v", c)
	}
}
