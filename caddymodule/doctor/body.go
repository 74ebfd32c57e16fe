package doctor

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"mime/multipart"
	"strings"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// isFormType reports whether a Content-Type is that of a form.
func isFormType(contentType string) bool {
	mediaType, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(mediaType), "application/x-www-form-urlencoded")
}

const (
	// maxBody is the longest body that is taken for parameters. Larger ones are uploads.
	maxBody = 64 << 10
	// maxBodyPairs is how many parameters a body may be taken for. More take long to be signed.
	maxBodyPairs = 500
)

// bodyPairs are the parameters that a client may have taken a body for, with the mistake's name.
type bodyPairs struct {
	name  string
	pairs []*pair
}

func (c *Case) bodyPairs() (list []bodyPairs) {
	body := c.Body
	if len(body) == 0 || len(body) > maxBody {
		return nil
	}
	// A value may hold colons too, but not many.
	if bytes.Count(body, []byte(":")) <= 4*maxBodyPairs {
		if pairs := jsonPairs(body); len(pairs) > 0 && len(pairs) <= maxBodyPairs {
			list = append(list, bodyPairs{jsonSigned, pairs})
		}
	}
	if pairs := multipartPairs(body, c.ContentType); len(pairs) > 0 {
		list = append(list, bodyPairs{multipartSigned, pairs})
	}
	if bytes.Count(body, ampersand) < maxBodyPairs {
		list = append(list, formPairs(string(body))...)
	}
	if bytes.ContainsAny(body, "&=+%") { // else it is a form with one name
		list = append(list, bodyPairs{bodySigned, []*pair{newPair(string(body), "")}})
	}
	if len(body) > maxBody/4 { // each costs a millisecond
		return list
	}
	return append(list,
		bodyPairs{bodySigned, []*pair{newPair("", string(body))}},
		bodyPairs{bodySigned, []*pair{newPair("body", string(body))}})
}

// formPairs are the parameters of a body that is a form, whatever its type.
func formPairs(body string) (list []bodyPairs) {
	if pairs, ok := sentPairs(body, oauth1.SourceForm); ok {
		for _, p := range pairs {
			p.encode()
		}
		list = append(list, bodyPairs{bodySigned, pairs})
	}
	return list
}

// jsonPairs returns the fields of a JSON object whose values are no objects and no arrays.
func jsonPairs(body []byte) (pairs []*pair) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil {
		return nil
	}
	for name, raw := range fields {
		value := string(raw)
		switch value[0] {
		case '{', '[':
			continue
		case '"':
			if json.Unmarshal(raw, &value) != nil {
				continue
			}
		}
		pairs = append(pairs, newPair(name, value))
	}
	return pairs
}

// multipartPairs returns the fields of a multipart form that are no files.
func multipartPairs(body []byte, contentType string) (pairs []*pair) {
	if len(contentType) > maxUsual {
		return nil
	}
	mediaType, params, err := mime.ParseMediaType(contentType)
	if err != nil || mediaType != "multipart/form-data" || params["boundary"] == "" ||
		bytes.Count(body, []byte(params["boundary"])) > maxBodyPairs {
		return nil
	}
	reader := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for {
		part, err := reader.NextRawPart()
		if err != nil {
			return pairs
		}
		if part.FormName() == "" || part.FileName() != "" {
			continue
		}
		value, err := io.ReadAll(part)
		if err != nil {
			return nil
		}
		pairs = append(pairs, newPair(part.FormName(), string(value)))
	}
}
