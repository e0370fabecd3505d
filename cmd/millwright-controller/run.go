package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"millwright.dev/millwright/gitverify/rekorlog"
	"millwright.dev/millwright/reconciler"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/report"
	"millwright.dev/millwright/reconciler/source"
	"millwright.dev/millwright/render"
	"millwright.dev/millwright/render/policy"
)

const (
	// shutdownGrace is for the object that is being written, its record and the
	// passes' ends; with giving up the lease it stays below five seconds (K19).
	shutdownGrace = 4 * time.Second
	maxToken      = 64 << 10
	maxWakes      = 1024
)

// run assembles the controller and works until the context ends.
func run(ctx context.Context, o options, log io.Writer) error {
	level := slog.LevelInfo
	if o.debug {
		level = slog.LevelDebug
	}
	logger := logr.FromSlogHandler(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: level}))
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)
	go render.Prepare() // the first pass would wait for it
	cfg, err := restConfig(o.kubeconfig)
	if err != nil {
		return err
	}
	impatient := rest.CopyConfig(cfg)
	bePatient(cfg)
	held, err := newLease(cfg, o, time.Now)
	if err != nil {
		return err
	}
	if o.leaderElect {
		cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return fence{next, held.mayWrite} })
	}
	m, err := newManager(cfg, o, held)
	if err != nil {
		return err
	}
	wake := make(chan event.GenericEvent, maxWakes)
	setup, err := newSetup(cfg, m, o, wake)
	if err != nil {
		return err
	}
	if o.leaderElect {
		setup.MayWrite = held.mayWrite
	}
	r, err := reconciler.New(setup)
	if err != nil {
		return err
	}
	if err := r.Register(m, wake); err != nil {
		return err
	}
	answers, err := reconciler.Versions(impatient)
	if err != nil {
		return err
	}
	if err := addServers(m, o, setup.Client, answers, wake); err != nil {
		return err
	}
	logger.Info("starting", "version", version)
	if err := m.Start(ctx); err != nil {
		return fmt.Errorf("running the controller: %w", err)
	}
	return nil
}

func restConfig(path string) (*rest.Config, error) {
	var (
		cfg *rest.Config
		err error
	)
	if path == "" {
		cfg, err = rest.InClusterConfig()
	} else {
		cfg, err = clientcmd.BuildConfigFromFlags("", path)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the API server's address and credentials: %w", err)
	}
	cfg.UserAgent = "millwright-controller/" + version
	cfg.QPS = -1 // priority and fairness in the API server decides, not a number of ours
	rereadAuthority(cfg)
	return cfg, nil
}

func newManager(cfg *rest.Config, o options, held *lease) (manager.Manager, error) {
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("registering the built-in kinds: %w", err)
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("registering our kinds: %w", err)
	}
	grace, duration, renew, retry := shutdownGrace, leaseDuration, renewDeadline, retryPeriod
	// A Factory of another shard is not even known here. Records are cached too,
	// and have no label of the shard.
	caches := cache.Options{ByObject: map[client.Object]cache.ByObject{&v1alpha1.Factory{}: {Label: o.shard}}}
	if o.watched != "" {
		caches.DefaultNamespaces = map[string]cache.Config{o.watched: {}}
	}
	m, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme: scheme, GracefulShutdownTimeout: &grace, Cache: caches,
		Metrics:                server.Options{BindAddress: o.metrics},
		HealthProbeBindAddress: o.health, PprofBindAddress: o.pprof,
		LeaderElection: o.leaderElect, LeaderElectionResourceLockInterface: held,
		LeaseDuration: &duration, RenewDeadline: &renew, RetryPeriod: &retry,
		LeaderElectionReleaseOnCancel: true, MapperProvider: mapperOf,
	})
	if err != nil {
		return nil, fmt.Errorf("preparing the controller: %w", err)
	}
	// The first pass needs to know factories and records. Asked for here, they come
	// together: who waits for an informer looks every 100 ms, and would for each in turn.
	records := &metav1.PartialObjectMetadata{}
	records.SetGroupVersionKind(v1alpha1.GroupVersion().WithKind("AppliedRevision"))
	for _, kind := range []client.Object{&v1alpha1.Factory{}, records} {
		if _, err := m.GetCache().GetInformer(context.Background(), kind, cache.BlockUntilSynced(false)); err != nil {
			return nil, fmt.Errorf("preparing to watch factories and records: %w", err)
		}
	}
	return m, nil
}

// mapperOf knows our own kinds without asking, so that a controller can start
// while the API server is away (G01), and asks about all others when they come up.
func mapperOf(cfg *rest.Config, client *http.Client) (meta.RESTMapper, error) {
	own := v1alpha1.GroupVersion()
	ours := meta.NewDefaultRESTMapper([]schema.GroupVersion{own})
	for _, kind := range []string{"Factory", "AppliedRevision"} {
		ours.Add(own.WithKind(kind), meta.RESTScopeNamespace)
	}
	others, err := apiutil.NewDynamicRESTMapper(cfg, client)
	if err != nil {
		return nil, err
	}
	return meta.FirstHitRESTMapper{MultiRESTMapper: meta.MultiRESTMapper{ours, others}}, nil
}

func newSetup(cfg *rest.Config, m manager.Manager, o options, wake chan<- event.GenericEvent) (*reconciler.Setup, error) {
	metrics, err := report.NewMetrics(ctrlmetrics.Registry)
	if err != nil {
		return nil, err
	}
	versions, err := reconciler.Versions(cfg)
	if err != nil {
		return nil, err
	}
	watcher, err := reconciler.NewWatcher(cfg, o.namespace, wake)
	if err != nil {
		return nil, err
	}
	if err := m.Add(manager.RunnableFunc(watcher.Start)); err != nil {
		return nil, fmt.Errorf("adding the drift watch: %w", err)
	}
	engine, err := filepath.Abs(o.policyEngine)
	if err != nil {
		return nil, fmt.Errorf("resolving --policy-engine: %w", err)
	}
	trust, err := trustSource(m, o, metrics, ctrl.Log)
	if err != nil {
		return nil, err
	}
	setup := &reconciler.Setup{
		Client: m.GetClient(), Reader: m.GetAPIReader(), Cache: m.GetCache(), REST: cfg, DataDir: o.dataDir, Trust: trust,
		Policy: policy.Runner{Path: engine, MemoryLimit: boundMemory(memoryLimit("/proc", "/sys/fs/cgroup"))}, Ahead: true, Release: version, Clock: time.Now, Version: versions,
		Events: m.GetEventRecorder("millwright-controller"), Metrics: metrics, Watcher: watcher,
		Workers: o.workers, Plain: o.plain, Shard: o.shard, Interrupt: o.interrupt,
	}
	switch {
	case o.tokenFile != "":
		setup.Token = tokenFrom(o.tokenFile)
	case o.spiffe != "":
		setup.Token = workloadToken(o.spiffe)
	}
	if setup.Key, err = signingKey(o); err != nil {
		return nil, err
	}
	if o.verifyLog != "" {
		if setup.Log, err = rekorlog.New(o.verifyLog, &http.Client{}); err != nil {
			return nil, fmt.Errorf("--verify-log: %w", err)
		}
	}
	if o.frontierKey != "" {
		if setup.FrontierKey, err = frontierKey(o.frontierKey, rand.Reader); err != nil {
			return nil, err
		}
		if setup.Build, err = buildOf(version); err != nil {
			return nil, err
		}
	}
	return setup, nil
}

// tokenFrom reads the token anew for each certificate: whoever rotates it writes
// the file.
func tokenFrom(path string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		data, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("reading the identity token: %w", err)
		}
		if len(data) > maxToken {
			return "", fmt.Errorf("the identity token file is larger than %d bytes", maxToken)
		}
		return strings.TrimSpace(string(data)), nil
	}
}

// signingKey is that of factories that sign with a key; nil where none is given.
func signingKey(o options) (*attest.Key, error) {
	switch {
	case o.keyFile != "":
		return keyFrom(o.keyFile)
	case o.keyService != "":
		key, err := attest.OpenKMS(context.Background(), o.keyService)
		if err != nil {
			return nil, fmt.Errorf("--attest-kms: %w", err)
		}
		return &key, nil
	}
	return nil, nil //nolint:nilnil // no key is an answer
}

func keyFrom(path string) (*attest.Key, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading --attest-key: %w", err)
	}
	key, err := attest.ParseKey(data, []byte(os.Getenv("MILLWRIGHT_ATTEST_KEY_PASSWORD")))
	if err != nil {
		return nil, fmt.Errorf("reading --attest-key: %w", err)
	}
	return &key, nil
}

// addServers adds what listens. answers asks the API server, and does not wait for
// one that is away: a controller without it is not ready.
func addServers(m manager.Manager, o options, c client.Client, answers func(context.Context) (string, error), wake chan<- event.GenericEvent) error {
	if err := m.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("adding the health check: %w", err)
	}
	ready := func(r *http.Request) error {
		_, err := answers(r.Context())
		return err
	}
	if err := m.AddReadyzCheck("api-server", ready); err != nil {
		return fmt.Errorf("adding the readiness check: %w", err)
	}
	if o.poke == "" {
		return nil
	}
	enqueue := reconciler.Waker(wake)
	handler := source.PokeHandler(func(namespace, name string) bool {
		key := types.NamespacedName{Namespace: namespace, Name: name}
		if !reconciler.Known(c, key) {
			return false
		}
		enqueue(key, render.ID{})
		return true
	})
	return m.Add(manager.RunnableFunc(func(ctx context.Context) error { return serve(ctx, o.poke, handler) }))
}

// serve answers pokes until the context ends.
func serve(ctx context.Context, addr string, handler http.Handler) error {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listening for pokes: %w", err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second, MaxHeaderBytes: 16 << 10}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		_ = server.Shutdown(closing)
	}()
	if err := server.Serve(listener); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serving pokes: %w", err)
	}
	<-stopped
	return nil
}
