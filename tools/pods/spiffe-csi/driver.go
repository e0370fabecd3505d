package main

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"millwright.dev/millwright/tools/pods/internal/refusal"
)

const (
	driverName    = "csi.spiffe.io"
	driverVersion = "1.0.0"
)

// Reasons of this driver.
const (
	reasonVolume     = "csi/volume"
	reasonPersistent = "csi/persistent"
	reasonWritable   = "csi/writable"
	reasonAccess     = "csi/access-mode"
	reasonAttributes = "csi/attributes"
	reasonTarget     = "csi/target"
)

// driver answers the kubelet. It has no state of its own.
type driver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedNodeServer
	options

	log *slog.Logger
	mu  sync.Mutex // one mount at a time: what is there is looked at before it is changed
}

func (d *driver) register(s grpc.ServiceRegistrar) {
	csi.RegisterIdentityServer(s, d)
	csi.RegisterNodeServer(s, d)
}

// GetPluginInfo names the driver.
func (d *driver) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: driverName, VendorVersion: driverVersion}, nil
}

// GetPluginCapabilities names none: there is no controller.
func (d *driver) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	return &csi.GetPluginCapabilitiesResponse{}, nil
}

// Probe says yes: who is asked, serves.
func (d *driver) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{}, nil
}

// NodeGetCapabilities names none: nothing is staged, grown or measured.
func (d *driver) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	return &csi.NodeGetCapabilitiesResponse{}, nil
}

// NodeGetInfo names the node.
func (d *driver) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: d.node}, nil
}

// NodePublishVolume mounts the agent's folder at the target, read-only.
func (d *driver) NodePublishVolume(_ context.Context, req *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	if err := checkPublish(d.podsDir, req); err != nil {
		return nil, d.answer("publish", req.GetVolumeId(), err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := publish(d.agentDir, d.podsDir, req.GetTargetPath()); err != nil {
		return nil, d.answer("publish", req.GetVolumeId(), err)
	}
	d.log.Info("published", "volume", req.GetVolumeId(), "target", req.GetTargetPath())
	return &csi.NodePublishVolumeResponse{}, nil
}

// NodeUnpublishVolume undoes it, as often as it is asked to.
func (d *driver) NodeUnpublishVolume(_ context.Context, req *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	err := checkVolumeID(req.GetVolumeId())
	if err == nil {
		_, err = targetOf(d.podsDir, req.GetTargetPath())
	}
	if err != nil {
		return nil, d.answer("unpublish", req.GetVolumeId(), err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := unpublish(d.podsDir, req.GetTargetPath()); err != nil {
		return nil, d.answer("unpublish", req.GetVolumeId(), err)
	}
	d.log.Info("unpublished", "volume", req.GetVolumeId(), "target", req.GetTargetPath())
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

// answer turns an error into one of the protocol. The kubelet shows its text in
// an event of the pod.
func (d *driver) answer(call, volume string, err error) error {
	d.log.Error(call, "volume", volume, "error", err)
	switch {
	case refusal.ReasonOf(err) != "":
		return status.Error(codes.InvalidArgument, err.Error())
	case errors.Is(err, errNoAgent):
		return status.Error(codes.Unavailable, err.Error())
	default:
		return status.Error(codes.Internal, err.Error())
	}
}

// What the kubelet adds to the attributes of a volume, when the CSIDriver
// object says podInfoOnMount.
const (
	ephemeralKey  = "csi.storage.k8s.io/ephemeral"
	podUIDKey     = "csi.storage.k8s.io/pod.uid"
	kubeletPrefix = "csi.storage.k8s.io/"
)

// checkPublish refuses all but the one kind of volume that there is.
func checkPublish(podsDir string, req *csi.NodePublishVolumeRequest) error {
	if err := checkVolumeID(req.GetVolumeId()); err != nil {
		return err
	}
	attributes := req.GetVolumeContext()
	if attributes[ephemeralKey] != "true" || len(req.GetPublishContext()) > 0 || req.GetStagingTargetPath() != "" {
		return refusal.New(reasonPersistent, "use an inline volume (spec.volumes[].csi), and a CSIDriver object with podInfoOnMount: true and volumeLifecycleModes: [Ephemeral]",
			"the volume is not said to be ephemeral")
	}
	if !req.GetReadonly() {
		return refusal.New(reasonWritable, "set readOnly: true in spec.volumes[].csi", "the volume is asked for writable")
	}
	for key := range attributes {
		if !strings.HasPrefix(key, kubeletPrefix) {
			return refusal.New(reasonAttributes, "leave volumeAttributes out: there is nothing to choose", "unknown attribute %q", key)
		}
	}
	if len(req.GetSecrets()) > 0 {
		return refusal.New(reasonAttributes, "leave nodePublishSecretRef out: no secret is needed", "the volume comes with secrets")
	}
	if err := checkCapability(req.GetVolumeCapability()); err != nil {
		return err
	}
	uid, err := targetOf(podsDir, req.GetTargetPath())
	if err != nil {
		return err
	}
	if want := attributes[podUIDKey]; want != uid {
		return refusal.New(reasonTarget, "none: the kubelet contradicts itself", "the target is of pod %q, the volume of pod %q", uid, want)
	}
	return nil
}

func checkCapability(c *csi.VolumeCapability) error {
	mount := c.GetMount()
	if mount == nil {
		return refusal.New(reasonAccess, "ask for a filesystem volume", "the volume is asked for as a block device, or as nothing")
	}
	if mount.GetFsType() != "" || len(mount.GetMountFlags()) > 0 || mount.GetVolumeMountGroup() != "" {
		return refusal.New(reasonAttributes, "leave fsType out: there is nothing to choose", "the volume comes with a filesystem type or mount options")
	}
	switch mode := c.GetAccessMode().GetMode(); mode {
	// The kubelet says the first of any inline volume; whether it may be written
	// to is said by readonly.
	case csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER, csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY:
		return nil
	default:
		return refusal.New(reasonAccess, "use an inline volume, which has the mode SINGLE_NODE_WRITER", "access mode %q", mode)
	}
}

var volumeID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

func checkVolumeID(id string) error {
	if !volumeID.MatchString(id) {
		return refusal.New(reasonVolume, "none: the kubelet makes this name", "volume %q", id)
	}
	return nil
}

// A target is POD/volumes/kubernetes.io~csi/VOLUME/mount, and nothing else.
var target = regexp.MustCompile(`^([A-Za-z0-9-]{1,64})/volumes/kubernetes\.io~csi/[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/mount$`)

// targetOf returns the UID of the pod that a target path belongs to.
func targetOf(podsDir, path string) (uid string, err error) {
	rel, ok := strings.CutPrefix(path, podsDir+"/")
	if m := target.FindStringSubmatch(rel); ok && m != nil && filepath.Clean(path) == path {
		return m[1], nil
	}
	return "", refusal.New(reasonTarget, "none, if the kubelet asked; -pods-dir has to be the kubelet's", "target path %q is not one of a CSI volume below %q", path, podsDir)
}
