// The browser code of the portal's pages: htmx replaces the parts that change by themselves.
import "htmx.org";
import "../../look/printed";
