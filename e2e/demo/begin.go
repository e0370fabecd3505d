package main

import (
	"context"
	"strings"
	"time"

	"millwright.dev/millwright/e2e/localfactory"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
)

// words splits a command line that needs no quotes.
func words(line string) []string { return strings.Fields(line) }

// begin starts the servers, makes the people, and a repository that holds
// nothing but who may change it.
func (d *demo) begin(ctx context.Context) error {
	var err error
	d.site, err = localfactory.Start(ctx, localfactory.Options{
		Dir: d.dir, Root: d.options.root, Progress: d.progress(), Took: d.times.took,
	})
	if err != nil {
		return err
	}
	if d.api, err = d.site.Client(); err != nil {
		return err
	}
	if err := d.cast(ctx); err != nil {
		return err
	}
	if err := d.site.Write("factory-config/trust/policy.yaml", d.site.Policy(1, d.trusted()...)); err != nil {
		return err
	}
	if d.anchor, err = d.site.Repository(ctx, d.alice); err != nil {
		return err
	}
	if err := d.site.InstallRestricted(ctx); err != nil {
		return err
	}
	engine, err := d.policyEngine(ctx)
	if err != nil {
		return err
	}
	if err := d.site.StartController(ctx, engine); err != nil {
		return err
	}
	d.screen.act("A machine becomes a factory floor: every server is real, on 127.0.0.1, in one temporary folder")
	d.introduce()
	all := words("kubectl auth can-i * * --as=system:serviceaccount:" + localfactory.Namespace + ":millwright-controller")
	if err := d.doExit(ctx, d.operator, 1, all); err != nil {
		return err
	}
	return d.site.WriteFactory(d.factory())
}

// cast makes the people of the story.
func (d *demo) cast(ctx context.Context) error {
	d.operator = d.site.Operator()
	for name, p := range map[string]*localfactory.Person{"alice": &d.alice, "bob": &d.bob, "mallory": &d.mallory} {
		var err error
		if *p, err = d.site.Person(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// trusted are the people whom the anchor's policy lists.
func (d *demo) trusted() []localfactory.Person {
	people := []localfactory.Person{d.alice, d.bob}
	if d.options.sabotage == sabotageVerify {
		people = append(people, d.mallory)
	}
	return people
}

func (d *demo) introduce() {
	for _, row := range [][2]string{
		{"Kubernetes API", "etcd 3.6.8, kube-apiserver 1.36.3; no node, no kubelet"},
		{"Sigstore", "OpenID issuers, Fulcio with CT log, Rekor, timestamp authority"},
		{"registry, Git", "OCI with the referrers API; smart HTTP"},
		{"repository", "one commit " + d.anchor[:12] + ", the anchor: alice and bob may sign"},
		{"controller", "millwright-controller, which signs as " + localfactory.Subject},
		{"rights", "no administrator: it may look, and act as an account for each component"},
	} {
		d.screen.print("  %-15s %s\n", row[0], row[1])
	}
}

func (d *demo) factory() *v1alpha1.Factory { return d.site.Factory(d.anchor, 10*time.Second) }
