// The oracle of gotmpl.py: reads lines {"template_text", "data"}, prints {"text"} or {"error"}, with
// Go's text/template and Ollama's function `json`. Needs golang-go. Run by `go run`.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"text/template"
)

type arguments map[string]any

func (a arguments) String() string { b, _ := json.Marshal(map[string]any(a)); return string(b) }

type call struct {
	ID       string `json:"id,omitempty"`
	Function struct {
		Index     int       `json:"index"`
		Name      string    `json:"name"`
		Arguments arguments `json:"arguments"`
	} `json:"function"`
}

type message struct {
	Role       string   `json:"role"`
	Content    string   `json:"content"`
	Thinking   string   `json:"thinking,omitempty"`
	ToolCalls  []call   `json:"tool_calls,omitempty"`
	ToolName   string   `json:"tool_name,omitempty"`
	ToolCallID string   `json:"tool_call_id,omitempty"`
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<24)
	out := json.NewEncoder(os.Stdout)
	for in.Scan() {
		var line struct {
			Text     string `json:"template_text"`
			System   string    `json:"system"`
			Messages []message `json:"messages"`
		}
		if err := json.Unmarshal(in.Bytes(), &line); err != nil {
			panic(err)
		}
		data := map[string]any{"System": line.System, "Messages": line.Messages, "Tools": nil, "Response": "", "Think": false, "ThinkLevel": "", "IsThinkSet": false}
		funcs := template.FuncMap{"json": func(v any) string { b, _ := json.Marshal(v); return string(b) }}
		t, err := template.New("").Option("missingkey=zero").Funcs(funcs).Parse(line.Text)
		var b bytes.Buffer
		if err == nil {
			err = t.Execute(&b, data)
		}
		if err != nil {
			out.Encode(map[string]string{"error": err.Error()})
		} else {
			out.Encode(map[string]string{"text": b.String()})
		}
	}
}
