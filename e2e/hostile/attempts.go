package main

import (
	"fmt"
	"strings"
	"sync"
)

// What can come of an attempt.
const (
	nothing = "nothing"
	found   = "found"
	left    = "left"
)

// attempt is one thing to try. It returns what was found, and what came back.
type attempt struct {
	name string
	try  func() (outcome, text string)
}

type result struct{ name, outcome, text string }

func (r result) String() string {
	return fmt.Sprintf("hostile: %s: %s: %s", r.name, r.outcome, strings.Map(printable, r.text))
}

func printable(r rune) rune {
	if r < ' ' || r > '~' {
		return '?'
	}
	return r
}

func attempts() []attempt {
	var all []attempt
	for _, some := range [][]attempt{secrets(), network(), files(), processes(), kernel(), tekton()} {
		all = append(all, some...)
	}
	return all
}

// tryAll tries everything at once, and tells it in the order of the list.
func tryAll() []result {
	list := attempts()
	results := make([]result, len(list))
	var wg sync.WaitGroup
	for i, a := range list {
		wg.Go(func() {
			outcome, text := a.try()
			results[i] = result{a.name, outcome, text}
		})
	}
	wg.Wait()
	return results
}

// verdict is found when there is something.
func verdict(things []string, otherwise string) (outcome, text string) {
	if len(things) == 0 {
		return nothing, otherwise
	}
	return found, fmt.Sprintf("%d, first %s", len(things), things[0])
}
