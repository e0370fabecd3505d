package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"millwright.dev/millwright/e2e/localfactory"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/tools/process"
)

// millwrightParty is the real controller, with verification and attestation.
type millwrightParty struct {
	*bed
	// pprof is where the controller tells what it does.
	pprof string
}

// factoryTarget is the Factory.
func factoryTarget() target {
	return target{v1alpha1.GroupVersion().WithResource("factories"), localfactory.Namespace, localfactory.Name}
}

func (m *millwrightParty) install(ctx context.Context) error {
	site := m.floor.site
	if err := os.RemoveAll(site.Path("controller", "data")); err != nil {
		return err
	}
	if err := site.Use(m.cluster); err != nil {
		return err
	}
	if err := site.Install(ctx); err != nil {
		return err
	}
	ports, err := process.Ports(1)
	if err != nil {
		return err
	}
	m.pprof = process.Addr(ports[0])
	if err := site.StartController(ctx, site.PolicyEngine(), "--pprof-addr", m.pprof); err != nil {
		return err
	}
	m.running = append(m.running, site.Controller())
	return nil
}

// applied holds when the commit is applied, attested and stored.
func applied(commit string) func(*unstructured.Unstructured) (bool, error) {
	return func(o *unstructured.Unstructured) (bool, error) {
		if o == nil {
			return false, errors.New("the Factory is gone")
		}
		var f v1alpha1.Factory
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &f); err != nil {
			return false, err
		}
		err := localfactory.Applied(commit)(&f)
		if errors.Is(err, localfactory.ErrNever) {
			return false, err
		}
		return err == nil, nil
	}
}

func (m *millwrightParty) begin(ctx context.Context, commit string) error {
	// No clock wakes it while something is measured.
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(m.floor.site.Factory(m.floor.anchor, 24*time.Hour))
	if err != nil {
		return err
	}
	delete(object, "status")
	t := factoryTarget()
	return m.explained(m.until(ctx, t, applied(commit), func() error {
		_, err := t.in(m.api).Create(ctx, &unstructured.Unstructured{Object: object}, metav1.CreateOptions{})
		return err
	}))
}

func (m *millwrightParty) follow(ctx context.Context, commit string) error {
	return m.explained(m.until(ctx, factoryTarget(), applied(commit), func() error { return m.floor.site.Poke(ctx) }))
}

func (m *millwrightParty) explained(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w; the end of the controller's log:\n%s", err, m.floor.site.ControllerLog(20))
}

// again pokes the controller, and waits until it says that it made a pass.
func (m *millwrightParty) again(ctx context.Context) error {
	before, err := m.passes(ctx)
	if err != nil {
		return err
	}
	if err := m.floor.site.Poke(ctx); err != nil {
		return err
	}
	return m.passed(ctx, before+1)
}

func (m *millwrightParty) passed(ctx context.Context, n float64) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		now, err := m.passes(ctx)
		if err != nil || now >= n {
			return err
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// repair does nothing: it notices.
func (m *millwrightParty) repair(context.Context) error { return nil }

// passes counts the passes that the controller has made with the answer yes.
func (m *millwrightParty) passes(ctx context.Context) (float64, error) {
	metrics, err := m.floor.site.Metrics(ctx)
	return metrics["millwright_passes_total"], err
}

// stages tells where the controller spent the time between two readings.
func (b *benchmark) stages(before, after map[string]float64) {
	var parts []string
	for _, stage := range []string{"fetch", "verify", "render", "permit", "test", "observe", "apply", "attest"} {
		parts = append(parts, fmt.Sprintf("%s %.0f", stage, (after[stage]-before[stage])*1e3))
	}
	fmt.Fprintf(b.log, "             ms in stages: %s\n", strings.Join(parts, ", "))
}

// profileFor is how long a CPU profile is taken from the beginning of a workload.
const profileFor = 10 * time.Second

// takeProfile has the controller write down what it does from now on, beside the
// logs. It disturbs what is measured.
func (m *millwrightParty) takeProfile(ctx context.Context, name string) (wait func() error) {
	done := make(chan error, 1)
	go func() {
		done <- func() error {
			url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%.0f", m.pprof, profileFor.Seconds())
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
			if err != nil {
				return err
			}
			resp, err := (&http.Client{Timeout: 2 * profileFor}).Do(req)
			if err != nil {
				return fmt.Errorf("taking a profile of the controller: %w", err)
			}
			defer resp.Body.Close()
			data, err := io.ReadAll(resp.Body)
			if err != nil {
				return err
			}
			return os.WriteFile(m.path(name+".pprof"), data, 0o600)
		}()
	}()
	return func() error { return <-done }
}
