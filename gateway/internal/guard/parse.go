package guard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// maxAnswer is the most that an answer's JSON text has, in bytes.
const maxAnswer = 16 << 10

// What is wrong with an answer. Nothing of it is in the text.
var (
	errLong     = fmt.Errorf("it is longer than %d bytes", maxAnswer)
	errForm     = errors.New("it is not one JSON object")
	errRepeated = errors.New("it has a member twice")
	errMember   = errors.New("it has an unknown member")
	errVerdict  = errors.New("its verdict is neither pass nor refuse")
	errType     = errors.New("a member has another type than it should")
	errName     = errors.New("the name of a rule or of a finding is not 1 to 64 of a-z, 0-9, dot and dash")
	errMany     = fmt.Errorf("it has more than %d findings", crossing.MaxFindings)
)

// parse reads an answer, as FORMAT.md says, and nothing else.
func parse(text []byte) (a Answer, err error) {
	switch {
	case len(text) > maxAnswer:
		return a, errLong
	case !utf8.Valid(text) || !json.Valid(text):
		return a, errForm
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if begin, err := d.Token(); err != nil || begin != json.Delim('{') {
		return a, errForm
	}
	var seen []string
	for d.More() {
		member, err := d.Token()
		if err != nil {
			return a, errForm
		}
		name, _ := member.(string)
		for _, s := range seen {
			if s == name {
				return Answer{}, errRepeated
			}
		}
		seen = append(seen, name)
		if err := a.member(name, d); err != nil {
			return Answer{}, err
		}
	}
	if a.Verdict == crossingv1.Guarded_VERDICT_UNSPECIFIED {
		return Answer{}, errVerdict
	}
	return a, nil
}

// member takes one member's value.
func (a *Answer) member(name string, d *json.Decoder) (err error) {
	switch name {
	case "verdict":
		a.Verdict, err = verdict(d)
	case "rule":
		a.Rule, err = named(d)
	case "findings":
		a.Findings, err = findings(d)
	case "detail": // for people at the guard: it may have a piece of the content
		_, err = text(d)
	default:
		return errMember
	}
	return err
}

func verdict(d *json.Decoder) (crossingv1.Guarded_Verdict, error) {
	word, err := text(d)
	switch {
	case err != nil:
		return 0, err
	case word == "pass":
		return crossingv1.Guarded_PASS, nil
	case word == "refuse":
		return crossingv1.Guarded_REFUSE, nil
	}
	return 0, errVerdict
}

func findings(d *json.Decoder) (all []string, err error) {
	if begin, err := d.Token(); err != nil || begin != json.Delim('[') {
		return nil, errType
	}
	for d.More() {
		if len(all) == crossing.MaxFindings {
			return nil, errMany
		}
		name, err := named(d)
		if err != nil {
			return nil, err
		}
		all = append(all, name)
	}
	_, err = d.Token()
	return all, err
}

// named is a name that may stand in a record.
func named(d *json.Decoder) (string, error) {
	name, err := text(d)
	if err == nil && !crossing.IsRule(name) {
		err = errName
	}
	return name, err
}

func text(d *json.Decoder) (string, error) {
	t, err := d.Token()
	s, ok := t.(string)
	if err != nil || !ok {
		return "", errType
	}
	return s, nil
}
