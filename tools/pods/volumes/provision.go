package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"

	"millwright.dev/millwright/tools/pods/internal/refusal"
)

// Reasons of the provisioner.
const (
	reasonName   = "volume/name"
	reasonClass  = "volume/class"
	reasonClaim  = "volume/claim"
	reasonNode   = "volume/node"
	reasonPath   = "volume/path"
	reasonFilled = "volume/not-empty"
)

// dirMode lets in root and the group that the kubelet gives the folder to.
const dirMode = 0o770

type provisioner struct {
	options

	log *slog.Logger
}

// Provision makes the folder of a claim and says which volume leads to it.
func (p *provisioner) Provision(_ context.Context, o controller.ProvisionOptions) (*corev1.PersistentVolume, controller.ProvisioningState, error) {
	if err := p.check(o); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	if err := p.makeDir(o.PVName); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	p.log.Info("provisioned", "volume", o.PVName, "claim", o.PVC.Namespace+"/"+o.PVC.Name)
	return p.volume(o), controller.ProvisioningFinished, nil
}

// Delete removes the folder of a volume that was released.
func (p *provisioner) Delete(_ context.Context, pv *corev1.PersistentVolume) error {
	if err := checkName(pv.Name); err != nil {
		return err
	}
	if local := pv.Spec.Local; local == nil || local.Path != filepath.Join(p.dir, pv.Name) {
		return refusal.New(reasonPath, "delete the volume by hand: this provisioner did not make it so", "volume %q does not lead to its folder below %q", pv.Name, p.dir)
	}
	if err := p.removeDir(pv.Name); err != nil {
		return err
	}
	p.log.Info("deleted", "volume", pv.Name)
	return nil
}

// A volume is named after the UID of its claim, by the controller. This is the
// only name that ever becomes part of a path.
var volumeName = regexp.MustCompile(`^pvc-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

func checkName(name string) error {
	if !volumeName.MatchString(name) {
		return refusal.New(reasonName, "none: the controller makes this name of the claim's UID", "volume %q", name)
	}
	return nil
}

// check refuses what a folder on this node cannot be.
func (p *provisioner) check(o controller.ProvisionOptions) error {
	if err := checkName(o.PVName); err != nil {
		return err
	}
	if len(o.StorageClass.Parameters) > 0 || len(o.StorageClass.MountOptions) > 0 {
		return refusal.New(reasonClass, "leave both out of the class", "the class has parameters or mount options")
	}
	if o.SelectedNodeName != "" && o.SelectedNodeName != p.node {
		return refusal.New(reasonNode, "keep the pod on the node of the volumes", "the pod goes to node %q, the volumes are on %q", o.SelectedNodeName, p.node)
	}
	spec := o.PVC.Spec
	if spec.Selector != nil || spec.DataSource != nil || spec.DataSourceRef != nil {
		return refusal.New(reasonClaim, "leave selector and data source out of the claim", "the claim asks for a certain volume, or for one with content")
	}
	if spec.VolumeMode != nil && *spec.VolumeMode != corev1.PersistentVolumeFilesystem {
		return refusal.New(reasonClaim, "use volumeMode Filesystem", "volume mode %q", *spec.VolumeMode)
	}
	for _, mode := range spec.AccessModes {
		if mode != corev1.ReadWriteOnce && mode != corev1.ReadWriteOncePod {
			return refusal.New(reasonClaim, "use ReadWriteOnce or ReadWriteOncePod", "access mode %q", mode)
		}
	}
	size := spec.Resources.Requests[corev1.ResourceStorage]
	if size.Sign() <= 0 || size.Cmp(p.maxSize) > 0 {
		return refusal.New(reasonClaim, "ask for less, or raise -max-size", "size %q is nothing or more than %q", size.String(), p.maxSize.String())
	}
	return nil
}

func (p *provisioner) volume(o controller.ProvisionOptions) *corev1.PersistentVolume {
	reclaim := corev1.PersistentVolumeReclaimDelete
	if o.StorageClass.ReclaimPolicy != nil {
		reclaim = *o.StorageClass.ReclaimPolicy
	}
	mode := corev1.PersistentVolumeFilesystem
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: o.PVName},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: reclaim,
			AccessModes:                   o.PVC.Spec.AccessModes,
			VolumeMode:                    &mode,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: o.PVC.Spec.Resources.Requests[corev1.ResourceStorage]},
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				Local: &corev1.LocalVolumeSource{Path: filepath.Join(p.dir, o.PVName)},
			},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{
					Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{p.node},
				}}}},
			}},
		},
	}
}

// makeDir makes the folder, or takes the empty one of an earlier try.
func (p *provisioner) makeDir(name string) error {
	root, err := os.OpenRoot(p.dir)
	if err != nil {
		return fmt.Errorf("opening the folder of the volumes: %w", err)
	}
	defer root.Close()
	err = root.Mkdir(name, dirMode)
	if errors.Is(err, fs.ErrExist) {
		err = checkEmpty(root, name)
	}
	if err != nil {
		return fmt.Errorf("making the folder: %w", err)
	}
	// Whatever the umask is.
	if err := root.Chmod(name, dirMode); err != nil {
		return fmt.Errorf("setting the mode of the folder: %w", err)
	}
	return nil
}

func checkEmpty(root *os.Root, name string) error {
	info, err := root.Lstat(name)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return refusal.New(reasonPath, "remove it", "%q is there and is no folder", name)
	}
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	// A UID is used once: whoever left something here is not this claim.
	switch _, err := f.ReadDir(1); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	default:
		return refusal.New(reasonFilled, "look at what is in there, and remove it", "the folder of %q is there and has content", name)
	}
}

// removeDir removes the folder and what is in it. It follows no symbolic link,
// and is content when there is nothing.
func (p *provisioner) removeDir(name string) error {
	root, err := os.OpenRoot(p.dir)
	if err != nil {
		return fmt.Errorf("opening the folder of the volumes: %w", err)
	}
	defer root.Close()
	if err := root.RemoveAll(name); err != nil {
		return fmt.Errorf("removing the folder: %w", err)
	}
	return nil
}
