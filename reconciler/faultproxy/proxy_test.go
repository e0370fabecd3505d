package faultproxy_test

import (
	"context"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"

	"millwright.dev/millwright/reconciler/faultproxy"
	"millwright.dev/millwright/reconciler/kubetest"
)

func TestMain(m *testing.M) { os.Exit(kubetest.Main(m)) }

// bench is a proxy, a client on either side of it, and a namespace.
type bench struct {
	t         *testing.T
	proxy     *faultproxy.Proxy
	through   kubernetes.Interface
	direct    kubernetes.Interface
	namespace string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	cluster := kubetest.Shared(t)
	proxy, err := faultproxy.Start(cluster.Config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Stop)
	b := &bench{t: t, proxy: proxy, through: kubernetes.NewForConfigOrDie(proxy.Config()), direct: kubernetes.NewForConfigOrDie(cluster.Config())}
	ns, err := b.direct.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "proxy-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b.namespace = ns.Name
	return b
}

func (b *bench) apply(name, value string) error {
	ctx, cancel := context.WithTimeout(b.t.Context(), 10*time.Second)
	defer cancel()
	body := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"` + name + `"},"data":{"k":"` + value + `"}}`
	_, err := b.through.CoreV1().ConfigMaps(b.namespace).Patch(ctx, name, types.ApplyYAMLPatchType, []byte(body), metav1.PatchOptions{FieldManager: "test"})
	return err
}

// value is what the API server really has.
func (b *bench) value(name string) string {
	b.t.Helper()
	c, err := b.direct.CoreV1().ConfigMaps(b.namespace).Get(b.t.Context(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return ""
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return c.Data["k"]
}

func TestARequestMeetsTheFaultThatItsRuleNamesAndNoOther(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault   faultproxy.Fault
		arrives bool
		wrong   func(error) bool
	}{
		"a dropped request never arrives":         {faultproxy.Drop(), false, func(err error) bool { return err != nil }},
		"a lost answer is of a request that does": {faultproxy.LoseAnswer(), true, func(err error) bool { return err != nil }},
		"a busy server is not asked":              {faultproxy.Answer(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "away", 0), false, apierrors.IsServiceUnavailable},
		"garbage is no answer":                    {faultproxy.Garbage(), true, func(err error) bool { return err != nil }},
		"a page is no answer":                     {faultproxy.Page(), true, func(err error) bool { return err != nil }},
		"half an answer is none":                  {faultproxy.Truncate(), true, func(err error) bool { return err != nil }},
		"a delayed answer is one":                 {faultproxy.Delay(time.Millisecond), true, func(err error) bool { return err == nil }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			rule := b.proxy.Inject(faultproxy.Rule{Verbs: []string{"apply"}, Name: "a", Skip: 1, Times: 1, Fault: c.fault})
			for i, want := range []string{"one", "two", "three"} {
				err := b.apply("a", want)
				switch {
				case i == 1 && !c.wrong(err):
					t.Errorf("the client was told %v", err)
				case i != 1 && err != nil:
					t.Errorf("request %d: %v", i, err)
				}
				if i == 1 && (b.value("a") == want) != c.arrives {
					t.Errorf("the server has %q", b.value("a"))
				}
			}
			if err := b.apply("b", "x"); err != nil || rule.Hits() != 1 {
				t.Errorf("another object: %v; the rule was met %d times", err, rule.Hits())
			}
			want := 2
			if c.arrives {
				want++
			}
			if got := b.proxy.Count()["apply configmaps/"+b.namespace+"/a"]; got != want {
				t.Errorf("the log has %d writes, want %d: %v", got, want, b.proxy.Count())
			}
		})
	}
}

func TestAPIServersThatAreAwayOrHangComeBack(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.proxy.Away(true)
	if err := b.apply("a", "x"); err == nil || b.value("a") != "" {
		t.Errorf("a server that is away answers: %v", err)
	}
	b.proxy.Away(false)
	if err := b.apply("a", "one"); err != nil {
		t.Fatal(err)
	}
	heal := b.proxy.Part()
	done := make(chan error, 1)
	go func() { done <- b.apply("a", "two") }()
	select {
	case err := <-done:
		t.Errorf("a server that hangs answers: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	heal()
	if err := <-done; err != nil || b.value("a") != "two" {
		t.Errorf("after it was healed: %v, %q", err, b.value("a"))
	}
}

func TestAStaleServerGivesItsFirstAnswerAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	rule := b.proxy.Inject(faultproxy.Rule{Verbs: []string{"list"}, Resource: "configmaps", Fault: faultproxy.Stale()})
	count := func() int {
		list, err := b.through.CoreV1().ConfigMaps(b.namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return len(list.Items)
	}
	if n := count(); n != 0 {
		t.Fatalf("%d at first", n)
	}
	if err := b.apply("a", "x"); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 0 || rule.Hits() != 2 {
		t.Errorf("%d in the old list, %d hits", n, rule.Hits())
	}
	rule.End()
	if n := count(); n != 1 {
		t.Errorf("%d after the end", n)
	}
}

// TestWatchesAreSpoiledEventByEvent is about the metadata client, which reads
// protobuf: events have to be told apart there too.
func TestWatchesAreSpoiledEventByEvent(t *testing.T) {
	t.Parallel()
	var count atomic.Int64
	told := func() { count.Add(1) }
	for name, c := range map[string]struct {
		fault faultproxy.Fault
		want  []string
	}{
		"as it is":               {faultproxy.Delay(0), []string{"a", "b", "c"}},
		"every event twice":      {faultproxy.DoubleEvents(told), []string{"a", "a", "b", "b", "c", "c"}},
		"two in the other order": {faultproxy.SwapEvents(5*time.Second, told), []string{"b", "a"}},
		"an end after one":       {faultproxy.EndWatch(1), []string{"a", "end"}},
		"a reset after one":      {faultproxy.BreakWatch(1), []string{"a", "end"}},
		"silence after two":      {faultproxy.StallWatch(2, told), []string{"a", "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.proxy.Inject(faultproxy.Rule{Verbs: []string{"watch"}, Fault: c.fault})
			client := metadata.NewForConfigOrDie(metadata.ConfigFor(b.proxy.Config()))
			stream, err := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace(b.namespace).Watch(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Stop()
			for _, name := range []string{"a", "b", "c"} {
				if err := b.apply(name, "x"); err != nil {
					t.Fatal(err)
				}
			}
			for _, want := range c.want {
				select {
				case event, open := <-stream.ResultChan():
					got := "end"
					if o, ok := event.Object.(metav1.Object); open && ok && event.Type != watch.Error {
						got = o.GetName()
					}
					if got != want {
						t.Fatalf("got %s (%s), want %s", got, event.Type, want)
					}
				case <-time.After(20 * time.Second):
					t.Fatalf("waited in vain for %s", want)
				}
			}
		})
	}
}

func TestAWatchFromTooLongAgoIsGone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.proxy.Inject(faultproxy.Rule{Verbs: []string{"watch"}, Fault: faultproxy.Gone()})
	_, err := b.through.CoreV1().ConfigMaps(b.namespace).Watch(t.Context(), metav1.ListOptions{ResourceVersion: "1"})
	if !apierrors.IsResourceExpired(err) {
		t.Errorf("the client was told %v", err)
	}
}
