package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// limitTask is what the limit program is told when it starts: where the API
// server is, and a file with everything that it will ever send. It knows the
// answer beforehand; what is left is what nobody can do without.
type limitTask struct {
	Kubeconfig, Objects, Clone, Remote, Listen string
}

// shipment is one object, ready to be sent.
type shipment struct {
	Path string
	// Wave 0 are definitions, 1 namespaces, 2 everything else.
	Wave int
	Body json.RawMessage
}

// order is what the limit program is told to do.
type order struct {
	// Do is all, look, fetch or send.
	Do string
	// Send are objects that are sent after that.
	Send []shipment
}

const (
	definitionsAtOnce = 4
	othersAtOnce      = 16
)

// limitChild is the limit program at work.
type limitChild struct {
	limitTask
	client *http.Client
	host   string
	all    []shipment
}

// serve does what it is told until it is ended.
func (t limitTask) serve(ctx context.Context) error {
	cfg, err := clientcmd.BuildConfigFromFlags("", t.Kubeconfig)
	if err != nil {
		return err
	}
	c := &limitChild{limitTask: t, host: cfg.Host}
	if c.client, err = rest.HTTPClientFor(cfg); err != nil {
		return err
	}
	data, err := os.ReadFile(t.Objects)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &c.all); err != nil {
		return err
	}
	handle := func(w http.ResponseWriter, r *http.Request) {
		var o order
		err := json.NewDecoder(r.Body).Decode(&o)
		if err == nil && o.Do != "" {
			err = c.do(r.Context(), o)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}
	server := &http.Server{Addr: t.Listen, Handler: http.HandlerFunc(handle), ReadHeaderTimeout: time.Minute, BaseContext: func(net.Listener) context.Context { return ctx }}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (c *limitChild) do(ctx context.Context, o order) error {
	switch o.Do {
	case "all":
		return c.everything(ctx)
	case "look":
		return c.git(ctx, "ls-remote", c.Remote, "refs/heads/main")
	case "fetch":
		if err := c.git(ctx, "--git-dir", c.Clone, "fetch", "--quiet", c.Remote, "main"); err != nil {
			return err
		}
	}
	return c.sendAll(ctx, o.Send, othersAtOnce)
}

func (c *limitChild) git(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "git", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("git %s: %w: %s", args[0], err, out)
	}
	return nil
}

// everything sends definitions and namespaces, waits until the definitions are
// established, and sends the rest.
func (c *limitChild) everything(ctx context.Context) error {
	waves := [3][]shipment{}
	for _, s := range c.all {
		waves[s.Wave] = append(waves[s.Wave], s)
	}
	waiting := map[string]bool{}
	for _, s := range waves[0] {
		waiting[s.Path] = true
	}
	established := make(chan error, 1)
	watching, stop := context.WithCancel(ctx)
	defer stop()
	if len(waiting) > 0 {
		go func() { established <- c.awaitEstablished(watching, waiting) }()
	}
	if err := c.sendAll(ctx, waves[1], othersAtOnce); err != nil {
		return err
	}
	if err := c.sendAll(ctx, waves[0], definitionsAtOnce); err != nil {
		return err
	}
	if len(waiting) > 0 {
		if err := <-established; err != nil {
			return err
		}
	}
	return c.sendAll(ctx, waves[2], othersAtOnce)
}

func (c *limitChild) sendAll(ctx context.Context, all []shipment, atOnce int) error {
	errs := make([]error, len(all))
	turns := make(chan struct{}, atOnce)
	var sending sync.WaitGroup
	for i, s := range all {
		turns <- struct{}{}
		sending.Go(func() {
			defer func() { <-turns }()
			errs[i] = c.send(ctx, s)
		})
	}
	sending.Wait()
	return errors.Join(errs...)
}

// send applies one object. A definition may be established a moment before it
// is served.
func (c *limitChild) send(ctx context.Context, s shipment) error {
	const attempts = 200
	var last error
	for range attempts {
		req, err := http.NewRequestWithContext(ctx, http.MethodPatch, c.host+s.Path+"?fieldManager=bench&force=true&fieldValidation=Ignore", bytes.NewReader(s.Body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/apply-patch+yaml")
		req.Header.Set("Accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")
		resp, err := c.client.Do(req)
		if err != nil {
			return err
		}
		said, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
		resp.Body.Close()
		switch {
		case err != nil:
			return err
		case resp.StatusCode == http.StatusOK, resp.StatusCode == http.StatusCreated:
			return nil
		case resp.StatusCode != http.StatusNotFound && resp.StatusCode != http.StatusTooManyRequests:
			return fmt.Errorf("%s: %s: %s", s.Path, resp.Status, tail(said))
		}
		last = fmt.Errorf("%s: %s", s.Path, resp.Status)
		time.Sleep(10 * time.Millisecond)
	}
	return last
}

// awaitEstablished watches definitions until all have the condition.
func (c *limitChild) awaitEstablished(ctx context.Context, waiting map[string]bool) error {
	const definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.host+definitions+"?watch=true", nil)
	if err != nil {
		return err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for events := bufio.NewReader(resp.Body); len(waiting) > 0; {
		line, err := events.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("watching definitions: %w", err)
		}
		var event struct {
			Object struct {
				Metadata struct{ Name string }
				Status   struct {
					Conditions []struct{ Type, Status string }
				}
			}
		}
		if err := json.Unmarshal(line, &event); err != nil {
			return fmt.Errorf("watching definitions: %w", err)
		}
		for _, is := range event.Object.Status.Conditions {
			if is.Type == "Established" && is.Status == "True" {
				delete(waiting, definitions+"/"+event.Object.Metadata.Name)
			}
		}
	}
	return nil
}
