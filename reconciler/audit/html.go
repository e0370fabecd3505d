package audit

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"time"
)

// page is the report for people to read and file: one file, without scripts and
// without anything from elsewhere. html/template escapes all that is put in.
//
//go:embed report.html
var page string

// HTML writes the report as a page.
func (r Report) HTML(w io.Writer) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"class": class, "question": question, "time": when,
		"id": func(id string) string { return short(line(id)) },
	}).Parse(page)
	if err != nil {
		return fmt.Errorf("reading the page: %w", err)
	}
	if err := t.Execute(w, r); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}

// class is how an answer is shown.
func class(a Answer) string {
	switch a {
	case Yes:
		return "yes"
	case No:
		return "no"
	case Unknown:
		return "open"
	case LeftOut:
	}
	return "none"
}

// question is what a check asks, for somebody who does not know its name.
func question(check string) string {
	return map[string]string{
		CheckExport:     "Is the export as it was made?",
		CheckChain:      "Is no record missing, exchanged, or of another cluster?",
		CheckSignatures: "Did the reconciler sign every record?",
		CheckHead:       "Is the newest record the one that is expected?",
		CheckSource:     "Was every commit made and approved by people who might?",
		CheckRender:     "Was what was applied what the commits say?",
		CheckPermit:     "Did those stand behind a change who have to, going by what it affects?",
		CheckVerdicts:   "Was it decided, and signed for, before anything was written?",
		CheckFiles:      "Are manifests and lists those of the records?",
		CheckFreshness:  "Is the newest record recent?",
		CheckLive:       "Is the cluster as the newest record says?",
		CheckClaim:      "Do the records bear the claim out?",
	}[check]
}

func when(t any) string {
	switch t := t.(type) {
	case time.Time:
		return t.UTC().Format("2006-01-02 15:04:05Z")
	case *time.Time:
		return t.UTC().Format("2006-01-02 15:04:05Z")
	}
	return ""
}
