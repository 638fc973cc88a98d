/* Chat templates that models carry in tokenizer.chat_template, and the named TEMPLATE that stands
 * for each.  Facts of compatibility: another text would be at another distance. */
#include "text/chat/named.h"

#include <stddef.h>

const struct chat_known chat_known[] = {
    {"chatml",
     "{% if messages[0]['role'] == 'system' %}{% set system_message = messages[0]['content'"
     "] %}{% endif %}{% if system_message is defined %}{{ system_message }}{% endif %}{% fo"
     "r message in messages %}{% set content = message['content'] %}{% if message['role'] ="
     "= 'user' %}{{ '<|im_start|>user\\n' + content + '<|im_end|>\\n<|im_start|>assistant\\"
     "n' }}{% elif message['role'] == 'assistant' %}{{ content + '<|im_end|>' + '\\n' }}{% "
     "endif %}{% endfor %}"},
    {"chatml",
     "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{"
     "% endif %}{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + me"
     "ssage['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ "
     "'<|im_start|>assistant\n' }}{% endif %}"},
    {"zephyr",
     "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + "
     "message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|syst"
     "em|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %"
     "}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n{% if loop"
     ".last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"},
    {"chatml",
     "{% if messages[0]['role'] == 'user' or messages[0]['role'] == 'system' %}{{ bos_token"
     " }}{% endif %}{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n'"
     " + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt"
     " %}{{ '<|im_start|>assistant\n' }}{% elif messages[-1]['role'] == 'assistant' %}{{ eo"
     "s_token }}{% endif %}"},
    {"chatml",
     "{{bos_token}}{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' +"
     " message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
     "{{ '<|im_start|>assistant\n' }}{% endif %}"},
    {"chatml",
     "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['con"
     "tent'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_star"
     "t|>assistant\n' }}{% endif %}"},
    {"chatml",
     "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{"
     "{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}{{'<|im"
     "_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% end"
     "for %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"},
    {"chatml",
     "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{"
     "{ '<|im_start|>system\nYou are a helpful assistant<|im_end|>\n' }}{% endif %}{{'<|im_"
     "start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endf"
     "or %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"},
    {"zephyr",
     "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + "
     "message['content'] }}\n{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n"
     "'  + message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generati"
     "on_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"},
    {"mistral-instruct",
     "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loo"
     "p.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assis"
     "tant/user/assistant/...') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] '"
     " + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ mess"
     "age['content'] + eos_token}}{% else %}{{ raise_exception('Only user and assistant rol"
     "es are supported!') }}{% endif %}{% endfor %}"},
    {"llama2-chat",
     "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set "
     "system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %"
     "}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if ("
     "message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversati"
     "on roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.i"
     "ndex0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_messa"
     "ge + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['c"
     "ontent'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + co"
     "ntent | trim + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + conten"
     "t | trim + ' ' + eos_token }}{% endif %}{% endfor %}"},
    {"mistral-instruct",
     "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loo"
     "p.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assis"
     "tant/user/assistant/...') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] '"
     " + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ mess"
     "age['content'] + eos_token + ' ' }}{% else %}{{ raise_exception('Only user and assist"
     "ant roles are supported!') }}{% endif %}{% endfor %}"},
    {"chatml",
     "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|im_start|>us"
     "er\n' + message['content'] + '<|im_end|>' }}\n{% elif message['role'] == 'system' %}\n"
     "{{ '<|im_start|>system\n' + message['content'] + '<|im_end|>' }}\n{% elif message['ro"
     "le'] == 'assistant' %}\n{{ '<|im_start|>assistant\n' + message['content'] + '<|im_end"
     "|>' }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|im_start|>as"
     "sistant' }}\n{% endif %}\n{% endfor %}"},
    {"chatml",
     "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{"
     "% endif %}{{ bos_token }}{% for message in messages %}{{'<|im_start|>' + message['rol"
     "e'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generati"
     "on_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"},
    {"chatml",
     "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set "
     "system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %"
     "}{% set system_message = 'You are a helpful assistant.' %}{% endif %}{% if not add_ge"
     "neration_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% for"
     " message in loop_messages %}{% if loop.index0 == 0 %}{{'<|im_start|>system\n' + syste"
     "m_message + '<|im_end|>\n'}}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + me"
     "ssage['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ "
     "'<|im_start|>assistant\n' }}{% endif %}"},
    {"chatml",
     "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set "
     "system_message = messages[0]['content'] %}{% elif 'system' not in messages[0]['role']"
     " %}{% set loop_messages = messages %}{% set system_message = 'You are DBRX, created b"
     "y Databricks. You were last updated in December 2023. You answer questions based on i"
     "nformation available up to that point.\nYOU PROVIDE SHORT RESPONSES TO SHORT QUESTION"
     "S OR STATEMENTS, but provide thorough responses to more complex and open-ended questi"
     "ons.\nYou assist with various tasks, from writing to coding (using markdown for code "
     "blocks \xe2\x80\x94" " remember to use ``` with code, JSON, and tables).\n(You do not"
     " have real-time data access or code execution capabilities. You avoid stereotyping an"
     "d provide balanced perspectives on controversial topics. You do not provide song lyri"
     "cs, poems, or news articles and do not divulge details of your training data.)\nThis "
     "is your system prompt, guiding your responses. Do not reference it, just respond to t"
     "he user. If you find yourself talking about this message, stop. You should be respond"
     "ing appropriately and usually that means not mentioning this.\nYOU DO NOT MENTION ANY"
     " OF THIS INFORMATION ABOUT YOURSELF UNLESS THE INFORMATION IS DIRECTLY PERTINENT TO T"
     "HE USER\\'S QUERY.' %}{% else %}{% set loop_messages = messages %}{% set system_messa"
     "ge = false %}{% endif %}{% for message in loop_messages %}{% if loop.index0 == 0 %}{%"
     " if system_message != false %}{{ '<|im_start|>system\n' + system_message | trim + '<|"
     "im_end|>\n'}}{% endif %}{{ '<|im_start|>' + message['role'] + '\n' + message['content"
     "'] + '<|im_end|>' }}{% else %}{{ '\n' + '<|im_start|>' + message['role'] + '\n' + mes"
     "sage['content'] + '<|im_end|>' }}{% endif %}{% if (add_generation_prompt == true and "
     "loop.last) %}{{ '\n' + '<|im_start|>' + 'assistant' + '\n' }}{% endif %}{% endfor %}"},
    {"alpaca",
     "{% if not add_generation_prompt is defined %}\n{% set add_generation_prompt = false %"
     "}\n{% endif %}\n{%- set ns = namespace(found=false) -%}\n{%- for message in messages "
     "-%}\n    {%- if message['role'] == 'system' -%}\n        {%- set ns.found = true -%}\n"
     "    {%- endif -%}\n{%- endfor -%}\n{{bos_token}}{%- if not ns.found -%}\n{{'You are a"
     "n AI programming assistant, utilizing the Deepseek Coder model, developed by Deepseek"
     " Company, and you only answer questions related to computer science. For politically "
     "sensitive questions, security and privacy issues, and other non-computer science ques"
     "tions, you will refuse to answer\\n'}}\n{%- endif %}\n{%- for message in messages %}\n"
     "    {%- if message['role'] == 'system' %}\n{{ message['content'] }}\n    {%- else %}\n"
     "        {%- if message['role'] == 'user' %}\n{{'### Instruction:\\n' + message['conte"
     "nt'] + '\\n'}}\n        {%- else %}\n{{'### Response:\\n' + message['content'] + '\\n"
     "<|EOT|>\\n'}}\n        {%- endif %}\n    {%- endif %}\n{%- endfor %}\n{% if add_gener"
     "ation_prompt %}\n{{'### Response:'}}\n{% endif %}"},
    {"gemma-instruct",
     "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System rol"
     "e not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] =="
     " 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alte"
     "rnate user/assistant/user/assistant/...') }}{% endif %}{% if (message['role'] == 'ass"
     "istant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif"
     " %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n'"
     " }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"},
    {"gemma3-instruct",
     "{{ bos_token }}\n{%- if messages[0]['role'] == 'system' -%}\n    {%- if messages[0]['"
     "content'] is string -%}\n        {%- set first_user_prefix = messages[0]['content'] +"
     " '\n\n' -%}\n    {%- else -%}\n        {%- set first_user_prefix = messages[0]['conte"
     "nt'][0]['text'] + '\n\n' -%}\n    {%- endif -%}\n    {%- set loop_messages = messages"
     "[1:] -%}\n{%- else -%}\n    {%- set first_user_prefix = \"\" -%}\n    {%- set loop_me"
     "ssages = messages -%}\n{%- endif -%}\n{%- for message in loop_messages -%}\n    {%- i"
     "f (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}\n        {{ raise_excepti"
     "on(\"Conversation roles must alternate user/assistant/user/assistant/...\") }}\n    {"
     "%- endif -%}\n    {%- if (message['role'] == 'assistant') -%}\n        {%- set role ="
     " \"model\" -%}\n    {%- else -%}\n        {%- set role = message['role'] -%}\n    {%-"
     " endif -%}\n    {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first"
     " else \"\") }}\n    {%- if message['content'] is string -%}\n        {{ message['cont"
     "ent'] | trim }}\n    {%- elif message['content'] is iterable -%}\n        {%- for ite"
     "m in message['content'] -%}\n            {%- if item['type'] == 'image' -%}\n        "
     "        {{ '<start_of_image>' }}\n            {%- elif item['type'] == 'text' -%}\n  "
     "              {{ item['text'] | trim }}\n            {%- endif -%}\n        {%- endfo"
     "r -%}\n    {%- else -%}\n        {{ raise_exception(\"Invalid content type\") }}\n   "
     " {%- endif -%}\n    {{ '<end_of_turn>\n' }}\n{%- endfor -%}\n{%- if add_generation_pr"
     "ompt -%}\n    {{'<start_of_turn>model\n'}}\n{%- endif -%}\n"},
    {"llama3-instruct",
     "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = "
     "'<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content']"
     " | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + conten"
     "t %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_hea"
     "der_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"},
    {"llama3-instruct",
     "{{- bos_token }}\n{%- if custom_tools is defined %}\n    {%- set tools = custom_tools"
     " %}\n{%- endif %}\n{%- if not tools_in_user_message is defined %}\n    {%- set tools_"
     "in_user_message = true %}\n{%- endif %}\n{%- if not date_string is defined %}\n    {%"
     "- set date_string = \"26 Jul 2024\" %}\n{%- endif %}\n{%- if not tools is defined %}\n"
     "    {%- set tools = none %}\n{%- endif %}\n\n{#- This block extracts the system messa"
     "ge, so we can slot it into the right place. #}\n{%- if messages[0]['role'] == 'system"
     "' %}\n    {%- set system_message = messages[0]['content']|trim %}\n    {%- set messag"
     "es = messages[1:] %}\n{%- else %}\n    {%- set system_message = \"\" %}\n{%- endif %}"
     "\n\n{#- System message + builtin tools #}\n{{- \"<|start_header_id|>system<|end_heade"
     "r_id|>\\n\\n\" }}\n{%- if builtin_tools is defined or tools is not none %}\n    {{- \""
     "Environment: ipython\\n\" }}\n{%- endif %}\n{%- if builtin_tools is defined %}\n    {"
     "{- \"Tools: \" + builtin_tools | reject('equalto', 'code_interpreter') | join(\", \")"
     " + \"\\n\\n\"}}\n{%- endif %}\n{{- \"Cutting Knowledge Date: December 2023\\n\" }}\n{"
     "{- \"Today Date: \" + date_string + \"\\n\\n\" }}\n{%- if tools is not none and not t"
     "ools_in_user_message %}\n    {{- \"You have access to the following functions. To cal"
     "l a function, please respond with JSON for a function call.\" }}\n    {{- 'Respond in"
     " the format {\"name\": function name, \"parameters\": dictionary of argument name and"
     " its value}.' }}\n    {{- \"Do not use variables.\\n\\n\" }}\n    {%- for t in tools "
     "%}\n        {{- t | tojson(indent=4) }}\n        {{- \"\\n\\n\" }}\n    {%- endfor %}"
     "\n{%- endif %}\n{{- system_message }}\n{{- \"<|eot_id|>\" }}\n\n{#- Custom tools are "
     "passed in a user message with some extra guidance #}\n{%- if tools_in_user_message an"
     "d not tools is none %}\n    {#- Extract the first user message so we can plug it in h"
     "ere #}\n    {%- if messages | length != 0 %}\n        {%- set first_user_message = me"
     "ssages[0]['content']|trim %}\n        {%- set messages = messages[1:] %}\n    {%- els"
     "e %}\n        {{- raise_exception(\"Cannot put tools in the first user message when t"
     "here's no first user message!\") }}\n{%- endif %}\n    {{- '<|start_header_id|>user<|"
     "end_header_id|>\\n\\n' -}}\n    {{- \"Given the following functions, please respond w"
     "ith a JSON for a function call \" }}\n    {{- \"with its proper arguments that best a"
     "nswers the given prompt.\\n\\n\" }}\n    {{- 'Respond in the format {\"name\": functi"
     "on name, \"parameters\": dictionary of argument name and its value}.' }}\n    {{- \"D"
     "o not use variables.\\n\\n\" }}\n    {%- for t in tools %}\n        {{- t | tojson(in"
     "dent=4) }}\n        {{- \"\\n\\n\" }}\n    {%- endfor %}\n    {{- first_user_message "
     "+ \"<|eot_id|>\"}}\n{%- endif %}\n\n{%- for message in messages %}\n    {%- if not (m"
     "essage.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}\n  "
     "      {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ messag"
     "e['content'] | trim + '<|eot_id|>' }}\n    {%- elif 'tool_calls' in message %}\n     "
     "   {%- if not message.tool_calls|length == 1 %}\n            {{- raise_exception(\"Th"
     "is model only supports single tool-calls at once!\") }}\n        {%- endif %}\n      "
     "  {%- set tool_call = message.tool_calls[0].function %}\n        {%- if builtin_tools"
     " is defined and tool_call.name in builtin_tools %}\n            {{- '<|start_header_i"
     "d|>assistant<|end_header_id|>\\n\\n' -}}\n            {{- \"<|python_tag|>\" + tool_c"
     "all.name + \".call(\" }}\n            {%- for arg_name, arg_val in tool_call.argument"
     "s | items %}\n                {{- arg_name + '=\"' + arg_val + '\"' }}\n             "
     "   {%- if not loop.last %}\n                    {{- \", \" }}\n                {%- en"
     "dif %}\n                {%- endfor %}\n            {{- \")\" }}\n        {%- else  %}"
     "\n            {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}\n        "
     "    {{- '{\"name\": \"' + tool_call.name + '\", ' }}\n            {{- '\"parameters\""
     ": ' }}\n            {{- tool_call.arguments | tojson }}\n            {{- \"}\" }}\n  "
     "      {%- endif %}\n        {%- if builtin_tools is defined %}\n            {#- This "
     "means we're in ipython mode #}\n            {{- \"<|eom_id|>\" }}\n        {%- else %"
     "}\n            {{- \"<|eot_id|>\" }}\n        {%- endif %}\n    {%- elif message.role"
     " == \"tool\" or message.role == \"ipython\" %}\n        {{- \"<|start_header_id|>ipyt"
     "hon<|end_header_id|>\\n\\n\" }}\n        {%- if message.content is mapping or message"
     ".content is iterable %}\n            {{- message.content | tojson }}\n        {%- els"
     "e %}\n            {{- message.content }}\n        {%- endif %}\n        {{- \"<|eot_i"
     "d|>\" }}\n    {%- endif %}\n{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '"
     "<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}\n{%- endif %}\n"},
    {"granite-instruct",
     "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ 'Question:\n' +"
     " message['content'] + '\n\n' }}{% elif message['role'] == 'system' %}\n{{ 'System:\n'"
     " + message['content'] + '\n\n' }}{% elif message['role'] == 'assistant' %}{{ 'Answer:"
     "\n'  + message['content'] + '\n\n' }}{% endif %}\n{% if loop.last and add_generation_"
     "prompt %}\n{{ 'Answer:\n' }}{% endif %}{% endfor %}"},
    {"llama2-chat",
     "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set "
     "system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %"
     "}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if ("
     "message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversati"
     "on roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.i"
     "ndex0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_messa"
     "ge + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['c"
     "ontent'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + co"
     "ntent.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + conte"
     "nt.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"},
    {"phi-3",
     "{% for message in messages %}{% if (message['role'] == 'user') %}{{'<|user|>' + '\n' "
     "+ message['content'] + '<|end|>' + '\n' + '<|assistant|>' + '\n'}}{% elif (message['r"
     "ole'] == 'assistant') %}{{message['content'] + '<|end|>' + '\n'}}{% endif %}{% endfor"
     " %}"},
    {"phi-3",
     "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') %}{{'<|"
     "user|>' + '\n' + message['content'] + '<|end|>' + '\n' + '<|assistant|>' + '\n'}}{% e"
     "lif (message['role'] == 'assistant') %}{{message['content'] + '<|end|>' + '\n'}}{% en"
     "dif %}{% endfor %}"},
    {"phi-3",
     "{{ bos_token }}{% for message in messages %}{{'<|' + message['role'] + '|>' + '\n' + "
     "message['content'] + '<|end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|as"
     "sistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"},
    {"command-r",
     "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set loop_messages = message"
     "s[1:] %}{% set system_message = messages[0]['content'] %}{% elif false == true %}{% s"
     "et loop_messages = messages %}{% set system_message = 'You are Command-R, a brilliant"
     ", sophisticated, AI-assistant trained to assist human users by providing thorough res"
     "ponses. You are trained by Cohere.' %}{% else %}{% set loop_messages = messages %}{% "
     "set system_message = false %}{% endif %}{% if system_message != false %}{{ '<|START_O"
     "F_TURN_TOKEN|><|SYSTEM_TOKEN|>' + system_message + '<|END_OF_TURN_TOKEN|>' }}{% endif"
     " %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index"
     "0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/us"
     "er/assistant/...') }}{% endif %}{% set content = message['content'] %}{% if message['"
     "role'] == 'user' %}{{ '<|START_OF_TURN_TOKEN|><|USER_TOKEN|>' + content.strip() + '<|"
     "END_OF_TURN_TOKEN|>' }}{% elif message['role'] == 'assistant' %}{{ '<|START_OF_TURN_T"
     "OKEN|><|CHATBOT_TOKEN|>'  + content.strip() + '<|END_OF_TURN_TOKEN|>' }}{% endif %}{%"
     " endfor %}{% if add_generation_prompt %}{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>'"
     " }}{% endif %}"},
    {"openchat",
     "{{ bos_token }}{% for message in messages %}{{ 'GPT4 Correct ' + message['role'].titl"
     "e() + ': ' + message['content'] + '<|end_of_turn|>'}}{% endfor %}{% if add_generation"
     "_prompt %}{{ 'GPT4 Correct Assistant:' }}{% endif %}"},
    {"chatqa",
     "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{"
     "% endif %}{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user'"
     " %}{{ 'User: ' + message['content'] + '\n\n' }}{% elif message['role'] == 'assistant'"
     " %}{{ 'Assistant: ' + message['content'] + eos_token }}{% elif message['role'] == 'sy"
     "stem' %}{{ message['content'] + '\n\n' }}{% endif %}{% endfor %}{% if add_generation_"
     "prompt %}{{ 'Assistant:' }}{% endif %}"},
    {"falcon-instruct",
     "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ 'User: \n' + me"
     "ssage['content'] }}\n{% elif message['role'] == 'system' %}\n{{ 'System: ' + message["
     "'content'] }}\n{% elif message['role'] == 'assistant' %}\n{{ 'Falcon:\n'  + message['"
     "content']}}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ 'Falcon:' "
     "}}\n{% endif %}\n{% endfor %}"},
    {"falcon-instruct",
     "{% for message in messages %}{% if not loop.first %}{{ '\n' }}{% endif %}{% if messag"
     "e['role'] == 'system' %}{{ 'System: ' }}{% elif message['role'] == 'user' %}{{ 'User:"
     " ' }}{% elif message['role'] == 'assistant' %}{{ 'Falcon: ' }}{% endif %}{{ message['"
     "content'] }}{% endfor %}{% if add_generation_prompt %}{{ '\n' + 'Falcon:' }}{% endif "
     "%}"},
    {"solar-instruct",
     "{% for message in messages %}{% if message['role'] == 'system' %}{% if message['conte"
     "nt']%}{{'### System:\n' + message['content']+'\n\n'}}{% endif %}{% elif message['role"
     "'] == 'user' %}{{'### User:\n' + message['content']+'\n\n'}}{% elif message['role'] ="
     "= 'assistant' %}{{'### Assistant:\n'  + message['content']}}{% endif %}{% if loop.las"
     "t and add_generation_prompt %}{{ '### Assistant:\n' }}{% endif %}{% endfor %}"},
    {NULL, NULL},
};
