package main

import (
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/proto"

	"millwright.dev/millwright/tools/pods/internal/refusal"
)

const (
	podUID    = "0a6f2d1e-4a42-4c0e-9a51-0f3d8f6f6f10"
	podTarget = "/var/lib/kubelet/pods/" + podUID + "/volumes/kubernetes.io~csi/spiffe/mount"
)

// asked is what the kubelet sends for an inline volume.
func asked(target string) *csi.NodePublishVolumeRequest {
	return &csi.NodePublishVolumeRequest{
		VolumeId:   "csi-5f0c",
		TargetPath: target,
		Readonly:   true,
		VolumeCapability: &csi.VolumeCapability{
			AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
			AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
		},
		VolumeContext: map[string]string{
			ephemeralKey: "true", podUIDKey: podUID,
			"csi.storage.k8s.io/pod.name": "p", "csi.storage.k8s.io/pod.namespace": "n", "csi.storage.k8s.io/serviceAccount.name": "a",
		},
	}
}

func TestOnlyReadOnlyInlineVolumesOfThePodAreAccepted(t *testing.T) {
	t.Parallel()
	mode := func(m csi.VolumeCapability_AccessMode_Mode) func(*csi.NodePublishVolumeRequest) {
		return func(r *csi.NodePublishVolumeRequest) { r.VolumeCapability.AccessMode.Mode = m }
	}
	target := func(path string) func(*csi.NodePublishVolumeRequest) {
		return func(r *csi.NodePublishVolumeRequest) { r.TargetPath = path }
	}
	const pods = "/var/lib/kubelet/pods"
	cases := map[string]struct {
		change func(*csi.NodePublishVolumeRequest)
		want   string
	}{
		"as the kubelet asks": {func(*csi.NodePublishVolumeRequest) {}, ""},
		"reader only":         {mode(csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY), ""},
		"static pod": {func(r *csi.NodePublishVolumeRequest) {
			r.TargetPath = pods + "/0a/volumes/kubernetes.io~csi/s/mount"
			r.VolumeContext[podUIDKey] = "0a"
		}, ""},
		"writable":                   {func(r *csi.NodePublishVolumeRequest) { r.Readonly = false }, reasonWritable},
		"persistent":                 {func(r *csi.NodePublishVolumeRequest) { r.VolumeContext[ephemeralKey] = "false" }, reasonPersistent},
		"no pod info":                {func(r *csi.NodePublishVolumeRequest) { r.VolumeContext = nil }, reasonPersistent},
		"staged":                     {func(r *csi.NodePublishVolumeRequest) { r.StagingTargetPath = "/s" }, reasonPersistent},
		"attached":                   {func(r *csi.NodePublishVolumeRequest) { r.PublishContext = map[string]string{"a": "b"} }, reasonPersistent},
		"attribute":                  {func(r *csi.NodePublishVolumeRequest) { r.VolumeContext["dir"] = "/etc" }, reasonAttributes},
		"secret":                     {func(r *csi.NodePublishVolumeRequest) { r.Secrets = map[string]string{"a": "b"} }, reasonAttributes},
		"filesystem type":            {func(r *csi.NodePublishVolumeRequest) { r.VolumeCapability.GetMount().FsType = "ext4" }, reasonAttributes},
		"mount option":               {func(r *csi.NodePublishVolumeRequest) { r.VolumeCapability.GetMount().MountFlags = []string{"rw"} }, reasonAttributes},
		"block device":               {func(r *csi.NodePublishVolumeRequest) { r.VolumeCapability.AccessType = &csi.VolumeCapability_Block{} }, reasonAccess},
		"no capability":              {func(r *csi.NodePublishVolumeRequest) { r.VolumeCapability = nil }, reasonAccess},
		"unknown mode":               {mode(csi.VolumeCapability_AccessMode_UNKNOWN), reasonAccess},
		"mode of the future":         {mode(99), reasonAccess},
		"many writers":               {mode(csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER), reasonAccess},
		"no volume":                  {func(r *csi.NodePublishVolumeRequest) { r.VolumeId = "" }, reasonVolume},
		"volume with a slash":        {func(r *csi.NodePublishVolumeRequest) { r.VolumeId = "a/b" }, reasonVolume},
		"target of another pod":      {target(pods + "/0a/volumes/kubernetes.io~csi/s/mount"), reasonTarget},
		"target elsewhere":           {target("/etc"), reasonTarget},
		"target is nothing":          {target(""), reasonTarget},
		"target with dots":           {target(pods + "/../pods/" + podUID + "/volumes/kubernetes.io~csi/spiffe/mount"), reasonTarget},
		"target of another kind":     {target(pods + "/" + podUID + "/volumes/kubernetes.io~empty-dir/spiffe/mount"), reasonTarget},
		"target is the volume":       {target(pods + "/" + podUID + "/volumes/kubernetes.io~csi/spiffe"), reasonTarget},
		"target with a line break":   {target(podTarget + "\n"), reasonTarget},
		"target beside the pods":     {target("/var/lib/kubelet/pods2/" + podUID + "/volumes/kubernetes.io~csi/spiffe/mount"), reasonTarget},
		"target below another mount": {target(podTarget + "/mount"), reasonTarget},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req, ok := proto.Clone(asked(podTarget)).(*csi.NodePublishVolumeRequest)
			if !ok {
				t.Fatal("no clone")
			}
			c.change(req)
			err := checkPublish(pods, req)
			if got := refusal.ReasonOf(err); got != c.want || (err != nil) != (c.want != "") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestFlagsAreStrict(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"no node":       {"-node", ""},
		"bad node":      {"-node", "a/b"},
		"relative path": {"-node", "n", "-agent-dir", "run"},
		"unclean path":  {"-node", "n", "-pods-dir", "/a/../b"},
		"root":          {"-node", "n", "-agent-dir", "/"},
	} {
		if _, err := parse(args); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := parse([]string{"-node", "factory"}); err != nil {
		t.Error(err)
	}
}
