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

// maxBody is the longest body that is taken for parameters. Larger ones are uploads.
const maxBody = 64 << 10

// bodyPairs are the parameters that a client may have taken a body for, with the mistake's name.
type bodyPairs struct {
	name  string
	pairs []pair
}

func (c *Case) bodyPairs() (list []bodyPairs) {
	body := c.Body
	if len(body) == 0 || len(body) > maxBody {
		return nil
	}
	if pairs := jsonPairs(body); len(pairs) > 0 {
		list = append(list, bodyPairs{jsonSigned, pairs})
	}
	if pairs := multipartPairs(body, c.ContentType); len(pairs) > 0 {
		list = append(list, bodyPairs{multipartSigned, pairs})
	}
	if pairs, ok := sentPairs(string(body), oauth1.SourceForm); ok {
		list = append(list, bodyPairs{bodySigned, pairs})
	}
	return append(list,
		bodyPairs{bodySigned, []pair{{name: string(body)}}},
		bodyPairs{bodySigned, []pair{{name: "", value: string(body)}}},
		bodyPairs{bodySigned, []pair{{name: "body", value: string(body)}}})
}

// jsonPairs returns the fields of a JSON object whose values are no objects and no arrays.
func jsonPairs(body []byte) (pairs []pair) {
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
		pairs = append(pairs, pair{name: name, value: value})
	}
	return pairs
}

// multipartPairs returns the fields of a multipart form that are no files.
func multipartPairs(body []byte, contentType string) (pairs []pair) {
	mediaType, params, err := mime.ParseMediaType(contentType)
	if err != nil || mediaType != "multipart/form-data" || params["boundary"] == "" {
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
		pairs = append(pairs, pair{name: part.FormName(), value: string(value)})
	}
}
