package main

import (
	"net/url"
	"strings"
)

// The part of SPDX 2.3 that is needed here. The types are our own, because the
// format's library prints what it has in an order that is not ours to fix.
type spdxDocument struct {
	Version       string             `json:"spdxVersion"`
	DataLicense   string             `json:"dataLicense"`
	ID            string             `json:"SPDXID"`
	Name          string             `json:"name"`
	Namespace     string             `json:"documentNamespace"`
	CreationInfo  spdxCreation       `json:"creationInfo"`
	Packages      []spdxPackage      `json:"packages"`
	Relationships []spdxRelationship `json:"relationships"`
}

type spdxCreation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type spdxPackage struct {
	ID               string          `json:"SPDXID"`
	Name             string          `json:"name"`
	VersionInfo      string          `json:"versionInfo,omitempty"`
	Purpose          string          `json:"primaryPackagePurpose"`
	DownloadLocation string          `json:"downloadLocation"`
	FilesAnalyzed    bool            `json:"filesAnalyzed"`
	LicenseConcluded string          `json:"licenseConcluded"`
	LicenseDeclared  string          `json:"licenseDeclared"`
	CopyrightText    string          `json:"copyrightText"`
	Checksums        []spdxChecksum  `json:"checksums,omitempty"`
	References       []spdxReference `json:"externalRefs,omitempty"`
	Comment          string          `json:"comment,omitempty"`
}

type spdxChecksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type spdxReference struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type spdxRelationship struct {
	Element string `json:"spdxElementId"`
	Type    string `json:"relationshipType"`
	Related string `json:"relatedSpdxElement"`
}

// strict says NOASSERTION where the format demands an answer and a program has
// none: licenses and origins are not written into it.
func (d spdxDocument) strict() spdxDocument {
	const none = "NOASSERTION"
	for i := range d.Packages {
		p := &d.Packages[i]
		p.DownloadLocation, p.LicenseConcluded, p.LicenseDeclared, p.CopyrightText = none, none, none, none
	}
	return d
}

// purlPath escapes each element of a module path.
func purlPath(path string) string {
	elements := strings.Split(path, "/")
	for i := range elements {
		elements[i] = url.PathEscape(elements[i])
	}
	return strings.Join(elements, "/")
}

// purlVersion escapes a version; a plus sign would be read as a space.
func purlVersion(version string) string {
	return strings.ReplaceAll(url.PathEscape(version), "+", "%2B")
}
