import './index.css';
import './badges.css';
import './form.css';
import './panel.css';
