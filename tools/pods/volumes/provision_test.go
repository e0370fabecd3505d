package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"

	"millwright.dev/millwright/tools/pods/internal/refusal"
)

const pvName = "pvc-0a6f2d1e-4a42-4c0e-9a51-0f3d8f6f6f10"

func newProvisioner(t *testing.T) *provisioner {
	t.Helper()
	return &provisioner{
		options: options{node: "factory", dir: t.TempDir(), maxSize: resource.MustParse("16Gi")},
		log:     slog.New(slog.DiscardHandler),
	}
}

// claimed is what the controller passes on for an ordinary claim.
func claimed() controller.ProvisionOptions {
	return controller.ProvisionOptions{
		StorageClass:     &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "factory"}, Provisioner: provisionerName},
		PVName:           pvName,
		SelectedNodeName: "factory",
		PVC: &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Namespace: "build-sample", Name: "source", UID: types.UID(pvName[len("pvc-"):])},
			Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
			},
		},
	}
}

func TestAClaimGetsAFolderThatGoesWithIt(t *testing.T) {
	t.Parallel()
	p := newProvisioner(t)
	var pv *corev1.PersistentVolume
	for range 2 { // a retry finds the folder of the first try
		var err error
		pv, _, err = p.Provision(t.Context(), claimed())
		if err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(p.dir, pvName)
	if info, err := os.Stat(path); err != nil || info.Mode() != fs.ModeDir|0o770 {
		t.Errorf("folder: %v %v", info, err)
	}
	if pv.Spec.Local == nil || pv.Spec.Local.Path != path || pv.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete {
		t.Errorf("volume: %+v", pv.Spec)
	}
	term := pv.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0]
	if term.Key != "kubernetes.io/hostname" || !slices.Equal(term.Values, []string{"factory"}) {
		t.Errorf("affinity: %+v", term)
	}
	elsewhere := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(elsewhere, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(elsewhere), filepath.Join(path, "link")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := p.Delete(t.Context(), pv); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder is left: %v", err)
	}
	if _, err := os.Lstat(elsewhere); err != nil {
		t.Errorf("what a link led to is gone: %v", err)
	}
}

func TestWhatAFolderCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	block := corev1.PersistentVolumeBlock
	size := func(s string) func(*controller.ProvisionOptions) {
		return func(o *controller.ProvisionOptions) {
			o.PVC.Spec.Resources.Requests[corev1.ResourceStorage] = resource.MustParse(s)
		}
	}
	name := func(s string) func(*controller.ProvisionOptions) {
		return func(o *controller.ProvisionOptions) { o.PVName = s }
	}
	cases := map[string]struct {
		change func(*controller.ProvisionOptions)
		want   string
	}{
		"ordinary":           {func(*controller.ProvisionOptions) {}, ""},
		"no node chosen yet": {func(o *controller.ProvisionOptions) { o.SelectedNodeName = "" }, ""},
		"largest":            {size("16Gi"), ""},
		"too large":          {size("17Gi"), reasonClaim},
		"nothing":            {size("0"), reasonClaim},
		"less than nothing":  {size("-1"), reasonClaim},
		"other node":         {func(o *controller.ProvisionOptions) { o.SelectedNodeName = "other" }, reasonNode},
		"block device":       {func(o *controller.ProvisionOptions) { o.PVC.Spec.VolumeMode = &block }, reasonClaim},
		"many nodes": {func(o *controller.ProvisionOptions) {
			o.PVC.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
		}, reasonClaim},
		"selector":               {func(o *controller.ProvisionOptions) { o.PVC.Spec.Selector = &metav1.LabelSelector{} }, reasonClaim},
		"data source":            {func(o *controller.ProvisionOptions) { o.PVC.Spec.DataSource = &corev1.TypedLocalObjectReference{} }, reasonClaim},
		"parameters":             {func(o *controller.ProvisionOptions) { o.StorageClass.Parameters = map[string]string{"path": "/etc"} }, reasonClass},
		"mount options":          {func(o *controller.ProvisionOptions) { o.StorageClass.MountOptions = []string{"exec"} }, reasonClass},
		"name with dots":         {name("../etc"), reasonName},
		"name without UID":       {name("pvc-1"), reasonName},
		"name in capitals":       {name("pvc-0A6F2D1E-4A42-4C0E-9A51-0F3D8F6F6F10"), reasonName},
		"name with a line break": {name(pvName + "\n"), reasonName},
		"name with a slash":      {name(pvName + "/x"), reasonName},
		"no name":                {name(""), reasonName},
	}
	for label, c := range cases {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			p := newProvisioner(t)
			o := claimed()
			c.change(&o)
			_, _, err := p.Provision(t.Context(), o)
			if got := refusal.ReasonOf(err); got != c.want || (err != nil) != (c.want != "") {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if left, _ := os.ReadDir(p.dir); c.want != "" && len(left) > 0 {
				t.Errorf("refused, and yet there is %v", left)
			}
		})
	}
}

func TestNothingElseIsDeletedOrTakenOver(t *testing.T) {
	t.Parallel()
	p := newProvisioner(t)
	if err := os.MkdirAll(filepath.Join(p.dir, pvName, "content"), 0o750); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Provision(t.Context(), claimed()); refusal.ReasonOf(err) != reasonFilled {
		t.Errorf("a folder with content was taken over: %v", err)
	}
	volume := func(name string, source corev1.PersistentVolumeSource) *corev1.PersistentVolume {
		return &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: source}}
	}
	local := func(path string) corev1.PersistentVolumeSource {
		return corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path}}
	}
	for name, pv := range map[string]*corev1.PersistentVolume{
		"path elsewhere":  volume(pvName, local("/etc")),
		"path with dots":  volume(pvName, local(p.dir+"/x/../"+pvName)),
		"the whole":       volume(pvName, local(p.dir)),
		"another's":       volume("pvc-1a6f2d1e-4a42-4c0e-9a51-0f3d8f6f6f10", local(filepath.Join(p.dir, pvName))),
		"name with dots":  volume("..", local(filepath.Dir(p.dir))),
		"of another kind": volume(pvName, corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: filepath.Join(p.dir, pvName)}}),
	} {
		if err := p.Delete(t.Context(), pv); refusal.ReasonOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(p.dir, pvName, "content")); err != nil {
		t.Error(err)
	}
	if err := os.Symlink("/etc", filepath.Join(p.dir, "pvc-2a6f2d1e-4a42-4c0e-9a51-0f3d8f6f6f10")); err != nil {
		t.Fatal(err)
	}
	o := claimed()
	o.PVName = "pvc-2a6f2d1e-4a42-4c0e-9a51-0f3d8f6f6f10"
	if _, _, err := p.Provision(t.Context(), o); refusal.ReasonOf(err) != reasonPath {
		t.Errorf("a link was taken for a folder: %v", err)
	}
}

// The controller is another project's; this shows that it is wired to ours.
func TestTheControllerCallsUs(t *testing.T) {
	t.Parallel()
	p := newProvisioner(t)
	o := claimed()
	claim := o.PVC.DeepCopy()
	name := "factory"
	claim.Spec.StorageClassName = &name
	claim.Annotations = map[string]string{"volume.kubernetes.io/storage-provisioner": provisionerName, "volume.kubernetes.io/selected-node": "factory"}
	claim.Status.Phase = corev1.ClaimPending
	late := storagev1.VolumeBindingWaitForFirstConsumer
	o.StorageClass.VolumeBindingMode = &late
	client := fake.NewClientset(claim, o.StorageClass)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go newController(ctx, client, p.options, p.log).Run(ctx)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if pv, err := client.CoreV1().PersistentVolumes().Get(ctx, pvName, metav1.GetOptions{}); err == nil {
			if pv.Annotations["pv.kubernetes.io/provisioned-by"] != provisionerName || pv.Spec.ClaimRef.UID != claim.UID {
				t.Errorf("volume: %+v", pv)
			}
			break
		}
		if time.Now().After(end) {
			t.Fatal("there is no volume")
		}
	}
	if _, err := os.Lstat(filepath.Join(p.dir, pvName)); err != nil {
		t.Error(err)
	}
}

func TestFlagsAreStrict(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"no node":  {"-node", ""},
		"relative": {"-node", "n", "-dir", "volumes"},
		"root":     {"-node", "n", "-dir", "/"},
		"size":     {"-node", "n", "-max-size", "much"},
		"negative": {"-node", "n", "-max-size", "-1"},
	} {
		if _, err := parse(args); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if o, err := parse([]string{"-node", "factory"}); err != nil || o.dir != "/var/lib/millwright-volumes" {
		t.Error(o, err)
	}
}
